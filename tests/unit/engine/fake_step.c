#include "fake_step.h"

#include <stdio.h>

#include "base/clock.h"

static reid_status call(reid_step *base, char letter, int number, int64_t iter, reid_error *err)
{
    fake_step *step = (fake_step *)base;
    reid_str_addf(&step->calls, "%c%lld ", letter, (long long)iter);
    if (step->fail_in == number)
        return reid_fail(err, REID_ERR_IO, "'%c' failed on rank %d", letter, step->rank);
    return REID_OK;
}

static reid_status next(reid_step *base, reid_step_batch *ret_batch, reid_error *err)
{
    fake_step *step = (fake_step *)base;
    double start_s = reid_clock_seconds();
    for (int i = 0; i < 4; i++) {
        snprintf(step->paths[i], sizeof step->paths[i], "/data/r%d_i%lld_%d.jpg", step->rank,
                 (long long)step->iter, i);
        step->path_list[i] = step->paths[i];
    }
    *ret_batch = (reid_step_batch){.count = 4, .paths = step->path_list};
    while (reid_clock_seconds() - start_s < step->next_s)
        ;
    return call(base, 'n', 1, step->iter++, err);
}

static reid_status forward(reid_step *base, reid_error *err)
{
    return call(base, 'f', 2, ((fake_step *)base)->iter - 1, err);
}

static reid_status backward(reid_step *base, reid_error *err)
{
    return call(base, 'b', 3, ((fake_step *)base)->iter - 1, err);
}

static reid_status update(reid_step *base, reid_error *err)
{
    return call(base, 'u', 4, ((fake_step *)base)->iter - 1, err);
}

static size_t scalar_count(const reid_step *base)
{
    return (size_t)((const fake_step *)base)->losses + 1;
}

/* The metric stands between the losses, to be sure that columns and indices are kept apart. */
static int kind_of(const reid_step *base, size_t index)
{
    return index == 0 ? 0 : index == 1 ? 2 : 1;
}

static const char *scalar_name(const reid_step *base, size_t index)
{
    static const char *const names[] = {"loss_cls", "loss_triplet", "cls_accuracy"};
    return names[kind_of(base, index)];
}

static bool scalar_is_loss(const reid_step *base, size_t index)
{
    return kind_of(base, index) != 2;
}

static double scalar(const reid_step *base, size_t index)
{
    const fake_step *step = (const fake_step *)base;
    return step->value(step->rank, step->iter - 1, kind_of(base, index));
}

static void keep(reid_step *base)
{
}

static const reid_step_impl FAKE = {
    .next = next,
    .forward = forward,
    .backward = backward,
    .update = update,
    .scalar_count = scalar_count,
    .scalar_name = scalar_name,
    .scalar_is_loss = scalar_is_loss,
    .scalar = scalar,
    .free = keep,
};

void fake_step_init(fake_step *step, int rank, double (*value)(int rank, int64_t iter, int scalar))
{
    *step = (fake_step){.base.impl = &FAKE, .rank = rank, .losses = 2, .value = value};
}

void fake_step_fini(fake_step *step)
{
    reid_str_fini(&step->calls);
}
