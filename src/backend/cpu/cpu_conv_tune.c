/* Direct convolution or Winograd, by measurement. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/alloc.h"
#include "base/clock.h"

/* With fewer 4×4 tiles than this the transformed weights are never shared enough; with more than
 * the other, Winograd took half of the time or less on every machine seen, in float32. Neither is
 * measured. */
#define TILES_MIN 16
#define TILES_MAX 1024
/* The rule stands unless the other way is faster by this factor: what is measured while others use
 * the machine must not overturn it by chance. */
#define CLEARLY 1.1
#define ROUNDS_MAX 6

/* One convolution in three ways. All take the same buffers, of which only the scratch at their end
 * differs: pages that nobody has touched cost more than what is to be measured. */
typedef struct trial {
    reid_op *rule; /* only to be looked at */
    reid_op *direct, *winograd;
    unsigned char *memory;
    size_t bytes;
} trial;

static void trial_fini(trial *t)
{
    reid_op *const ops[] = {t->rule, t->direct, t->winograd};
    for (size_t i = 0; i < REID_COUNT_OF(ops); i++)
        if (ops[i])
            ops[i]->impl->free(ops[i]);
    reid_free_aligned(t->memory, t->bytes);
    *t = (trial){0};
}

/* The next part of the memory; only counts while there is none. */
static void *take(unsigned char *memory, size_t *used, size_t bytes)
{
    void *place = memory ? memory + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return place;
}

static size_t lay_out(reid_op *op, unsigned char *memory)
{
    const reid_op_desc *d = &op->desc;
    reid_op_buffers *b = &op->buffers;
    size_t used = 0;
    b->input[0] = b->saved_input[0] = take(memory, &used, d->input[0]->bytes);
    b->output = b->saved_output = take(memory, &used, d->output->bytes);
    b->output_grad[0] = take(memory, &used, d->output->bytes);
    if (d->input_grad[0])
        b->input_grad[0] = take(memory, &used, d->input[0]->bytes);
    for (int k = 0; k < d->param_count; k++) {
        b->param[k] = take(memory, &used, d->param[k]->bytes);
        if (d->param_grad[k])
            b->param_grad[k] = take(memory, &used, d->param[k]->bytes);
    }
    b->scratch = take(memory, &used, op->scratch_bytes);
    return used;
}

static reid_status make_op(cpu_backend *backend, const reid_op_desc *desc, reid_algorithm algorithm,
                           reid_op **ret_op, reid_error *err)
{
    reid_op_desc wanted = *desc;
    for (int pass = 0; pass < REID_OP_PASSES; pass++)
        wanted.algorithm[pass] = algorithm;
    return cpu_conv_new(backend, &wanted, ret_op, err);
}

static reid_status trial_init(cpu_backend *backend, const reid_op_desc *desc, trial *t,
                              reid_error *err)
{
    REID_TRY(make_op(backend, desc, REID_ALGORITHM_RULE, &t->rule, err));
    REID_TRY(make_op(backend, desc, REID_ALGORITHM_DIRECT, &t->direct, err));
    REID_TRY(make_op(backend, desc, REID_ALGORITHM_WINOGRAD, &t->winograd, err));
    t->bytes = REID_MAX(lay_out(t->direct, NULL), lay_out(t->winograd, NULL));
    t->memory = reid_alloc_aligned(t->bytes);
    if (!t->memory)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to measure a convolution");
    memset(t->memory, 0x3c, t->bytes); /* floats of 0.0115; and the pages are there */
    lay_out(t->direct, t->memory);
    lay_out(t->winograd, t->memory);
    REID_TRY(t->direct->impl->bind(t->direct, err));
    return t->winograd->impl->bind(t->winograd, err);
}

static reid_status run_pass(reid_op *op, reid_op_pass pass, double *ret_seconds, reid_error *err)
{
    double start_s = reid_clock_seconds();
    if (pass == REID_PASS_FORWARD)
        REID_TRY(op->impl->forward(op, err));
    else if (pass == REID_PASS_PARAMS)
        REID_TRY(op->impl->backward_params(op, err));
    else
        REID_TRY(op->impl->backward_inputs(op, err));
    *ret_seconds = reid_clock_seconds() - start_s;
    return REID_OK;
}

/* Whether `rounds` rounds are enough: to confirm the rule sooner than to overturn it, and at once
 * when there is no comparison. */
static bool is_settled(const double best[2], int rounds)
{
    double ratio = best[1] / best[0]; /* below 1: against the rule */
    if (rounds == 1)
        return ratio > 1.3;
    if (rounds == 2)
        return ratio > 1.0 || ratio < 0.6;
    return ratio > 1.0 || ratio < 0.77;
}

/* In turns, the best of each. [0] is the rule's way. */
static reid_status time_pass(reid_op *const op[2], reid_op_pass pass, double ret_best[2],
                             reid_error *err)
{
    double seconds;
    ret_best[0] = ret_best[1] = INFINITY;
    for (int i = 0; i < 2; i++)
        REID_TRY(run_pass(op[i], pass, &seconds, err)); /* cold */
    for (int rounds = 1; rounds <= ROUNDS_MAX; rounds++) {
        for (int i = 0; i < 2; i++) {
            REID_TRY(run_pass(op[i], pass, &seconds, err));
            ret_best[i] = fmin(ret_best[i], seconds);
        }
        if (is_settled(ret_best, rounds))
            break;
    }
    return REID_OK;
}

static bool has_pass(const reid_op_desc *desc, reid_op_pass pass)
{
    return pass == REID_PASS_FORWARD ||
           (pass == REID_PASS_PARAMS ? desc->param_grad[0] : desc->input_grad[0]);
}

static reid_status compare(const reid_op_desc *desc, const trial *t, reid_algorithm *ret_algorithm,
                           reid_error *err)
{
    for (reid_op_pass pass = 0; pass < REID_OP_PASSES; pass++) {
        if (!has_pass(desc, pass) || !cpu_conv_is_winograd(t->winograd, pass))
            continue;
        bool prior = cpu_conv_is_winograd(t->rule, pass);
        reid_op *const candidates[2] = {prior ? t->winograd : t->direct,
                                        prior ? t->direct : t->winograd};
        double best[2];
        REID_TRY(time_pass(candidates, pass, best, err));
        bool overturned = best[1] * CLEARLY < best[0];
        ret_algorithm[pass] = overturned != prior ? REID_ALGORITHM_WINOGRAD : REID_ALGORITHM_DIRECT;
    }
    return REID_OK;
}

reid_status cpu_conv_tune(reid_backend *base, const reid_op_desc *desc,
                          reid_algorithm ret_algorithm[REID_OP_PASSES], reid_error *err)
{
    cpu_backend *backend = (cpu_backend *)base;
    int64_t tiles = 0;
    for (int pass = 0; pass < REID_OP_PASSES; pass++)
        ret_algorithm[pass] = REID_ALGORITHM_RULE;
    if (desc->kind != REID_OP_CONV2D || !cpu_conv_suits_winograd(backend, desc, &tiles) ||
        tiles < TILES_MIN || (tiles >= TILES_MAX && desc->compute == REID_F32))
        return REID_OK;
    trial t = {0};
    reid_status status = trial_init(backend, desc, &t, err);
    if (status == REID_OK)
        status = compare(desc, &t, ret_algorithm, err);
    trial_fini(&t);
    return status;
}
