/* reid_ops --compare | --gradient | --time [--filter TEXT] [--threads N] [--backend NAME]
 *
 * compare:  every row on a backend (cpu) against `ref`.
 * gradient: every row's backward on `ref` against central differences, sums in double.
 * time:     median milliseconds of forward and backward of every row on a backend. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/vec.h"
#include "ops/op_run.h"

typedef struct options {
    const char *mode, *filter, *backend;
    int64_t threads;
} options;

static void die(const op_case *row, const reid_error *err)
{
    char *text = op_case_text(row);
    fprintf(stderr, "%s: %s\n", text, err->text);
    free(text);
    exit(1);
}

static op_run *make(reid_backend *backend, const op_case *row)
{
    reid_error err = {0};
    op_run *run = NULL;
    if (op_run_new(backend, row, &run, &err) != REID_OK)
        die(row, &err);
    op_run_store(run);
    return run;
}

static void run_once(op_run *run)
{
    reid_error err = {0};
    if (op_run_forward(run, &err) != REID_OK ||
        (run->backward && op_run_backward(run, &err) != REID_OK))
        die(run->row, &err);
}

/* Largest difference relative to the largest number of `want`. */
static double distance(const op_plain *want, const op_plain *got)
{
    double worst = 0.0, top = 1e-6;
    for (size_t i = 0; i < want->count; i++) {
        double d = fabs((double)want->data[i] - got->data[i]);
        worst = !(d <= worst) ? d : worst; /* NaN counts */
        top = fmax(top, fabs((double)want->data[i]));
    }
    return worst / top;
}

static bool same(const char *what, const op_plain *want, const op_plain *got, double tolerance)
{
    if (!want->data)
        return true;
    double d = distance(want, got);
    if (d <= tolerance)
        return true;
    printf("    %s differs by %.3g (allowed %.3g)\n", what, d, tolerance);
    return false;
}

/* Results of a run, to be compared with later ones. */
typedef struct results {
    op_plain output, input_grad[REID_OP_INPUTS], param_grad[REID_OP_PARAMS];
} results;

static op_plain copy_of(const op_plain *plain)
{
    op_plain copy = {plain->count, NULL};
    if (plain->data) {
        copy.data = reid_xcalloc(plain->count, sizeof(float));
        memcpy(copy.data, plain->data, plain->count * sizeof(float));
    }
    return copy;
}

static bool same_bits(const char *what, op_plain *own_want, const op_plain *got)
{
    bool ok = !own_want->data || memcmp(own_want->data, got->data, got->count * sizeof(float)) == 0;
    if (!ok)
        printf("    %s differs from the first one\n", what);
    free(own_want->data);
    return ok;
}

/* Backward has the same bits again, also from an output that was dropped and computed anew. */
static bool again(op_run *run)
{
    reid_error err = {0};
    results first = {.output = copy_of(&run->output)};
    for (int k = 0; k < REID_OP_INPUTS; k++)
        first.input_grad[k] = copy_of(&run->input_grad[k]);
    for (int k = 0; k < REID_OP_PARAMS; k++)
        first.param_grad[k] = copy_of(&run->param_grad[k]);
    if ((op_run_can_recompute(run) && op_run_recompute(run, &err) != REID_OK) ||
        (run->backward && op_run_backward(run, &err) != REID_OK))
        die(run->row, &err);
    op_run_fetch(run);
    bool ok = same_bits("the output computed anew", &first.output, &run->output);
    for (int k = 0; k < REID_OP_INPUTS; k++)
        ok &=
            same_bits("the second gradient of an input", &first.input_grad[k], &run->input_grad[k]);
    for (int k = 0; k < REID_OP_PARAMS; k++)
        ok &= same_bits("the second gradient of a parameter", &first.param_grad[k],
                        &run->param_grad[k]);
    return ok;
}

/* Sums in float over numbers with 8 bits: relative to the largest, an output is off by half a unit
 * in its last place. */
#define BF16_TOLERANCE 6e-3
#define F16_TOLERANCE 1e-3 /* with 11 bits */

static bool compare_row(reid_backend *ref, reid_backend *backend, const op_case *row)
{
    reid_dtype compute = op_case_compute(row);
    if (!reid_backend_supports(backend, compute) ||
        (row->flags & OP_CASE_FOLD && !backend->impl->folds_norm))
        return true;
    op_run *want = make(ref, row), *got = make(backend, row);
    double tolerance = compute == REID_BF16   ? BF16_TOLERANCE
                       : compute == REID_F16  ? F16_TOLERANCE
                       : row->tolerance > 0.0 ? row->tolerance
                                              : 2e-5;
    run_once(want);
    run_once(got);
    op_run_fetch(want);
    op_run_fetch(got);
    bool ok = same("output", &want->output, &got->output, tolerance);
    ok &= same("gradient of input 0", &want->input_grad[0], &got->input_grad[0], tolerance);
    ok &= same("gradient of input 1", &want->input_grad[1], &got->input_grad[1], tolerance);
    ok &= same("gradient of parameter 0", &want->param_grad[0], &got->param_grad[0], tolerance);
    ok &= same("gradient of parameter 1", &want->param_grad[1], &got->param_grad[1], tolerance);
    ok &= same("running mean", &want->state[0], &got->state[0], tolerance);
    ok &= same("running variance", &want->state[1], &got->state[1], tolerance);
    ok &= same("batches tracked", &want->state[2], &got->state[2], 0.0);
    ok &= again(got);
    op_run_free(want);
    op_run_free(got);
    return ok;
}

/* Σ output·(sum of gradient parts), the scalar whose gradient backward computes. */
static double objective(op_run *run)
{
    reid_error err = {0};
    double sum = 0.0;
    op_run_store(run);
    if (op_run_forward(run, &err) != REID_OK)
        die(run->row, &err);
    reid_backend_to_plain(run->backend, run->op->desc.output, run->op->buffers.output,
                          run->output.data);
    if (run->output.count == 1 && run->op->desc.output->shape.rank == 0)
        return (double)run->output.data[0] * run->op->desc.loss_scale;
    for (size_t i = 0; i < run->output.count; i++) {
        double g = run->output_grad[0].data[i];
        if (run->output_grad[1].data)
            g += run->output_grad[1].data[i];
        sum += g * run->output.data[i];
    }
    return sum;
}

/* Central differences at some places of `x`; false when `grad` is not the slope. */
static bool slopes(op_run *run, const char *what, op_plain *x, const op_plain *grad)
{
    if (!grad->data)
        return true;
    double top = 1e-3, scale = run->row->flags & OP_CASE_FAR ? 100.0 : 1.0, step = 2e-4 * scale;
    for (size_t i = 0; i < grad->count; i++)
        top = fmax(top, fabs((double)grad->data[i]));
    reid_rng rng = reid_rng_stream(11, REID_RNG_TEST, grad->count, 0);
    size_t checks = grad->count < 8 ? grad->count : 8;
    for (size_t k = 0; k < checks; k++) {
        size_t i = grad->count <= 8 ? k : reid_rng_below(&rng, (uint32_t)grad->count);
        float keep = x->data[i];
        x->data[i] = (float)(keep + step);
        float above_x = x->data[i];
        double above = objective(run);
        x->data[i] = (float)(keep - step);
        double slope = (above - objective(run)) / ((double)above_x - x->data[i]);
        x->data[i] = keep;
        if (!(fabs(slope - grad->data[i]) <= 1e-2 * top)) {
            printf("    %s[%zu]: slope %.6g, gradient %.6g (largest %.3g)\n", what, i, slope,
                   grad->data[i], top);
            return false;
        }
    }
    return true;
}

static bool gradient_row(reid_backend *ref, const op_case *row)
{
    op_run *run = make(ref, row);
    bool ok = true;
    if (run->backward &&
        !(row->flags & (OP_CASE_DETACHED | OP_CASE_MANY | OP_CASE_BF16 | OP_CASE_F16))) {
        run_once(run);
        op_run_fetch(run);
        ok &= slopes(run, "input 0", &run->input[0], &run->input_grad[0]);
        ok &= slopes(run, "input 1", &run->input[1], &run->input_grad[1]);
        ok &= slopes(run, "parameter 0", &run->param[0], &run->param_grad[0]);
        ok &= slopes(run, "parameter 1", &run->param[1], &run->param_grad[1]);
    }
    op_run_free(run);
    return ok;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef reid_status pass_fn(op_run *run, reid_error *err);

static double median_ms(op_run *run, pass_fn *pass)
{
    double seconds[64], begin = reid_clock_seconds();
    int count = 0;
    reid_error err = {0};
    while (count < 64 && (count < 5 || reid_clock_seconds() - begin < 0.2)) {
        double start = reid_clock_seconds();
        if (pass(run, &err) != REID_OK)
            die(run->row, &err);
        reid_backend_wait(run->backend);
        seconds[count++] = reid_clock_seconds() - start;
    }
    qsort(seconds, (size_t)count, sizeof seconds[0], by_value);
    return seconds[count / 2] * 1e3;
}

static reid_status params_pass(op_run *run, reid_error *err)
{
    return run->op->impl->backward_params ? run->op->impl->backward_params(run->op, err) : REID_OK;
}

static reid_status inputs_pass(op_run *run, reid_error *err)
{
    return run->op->impl->backward_inputs ? run->op->impl->backward_inputs(run->op, err) : REID_OK;
}

static bool time_row(reid_backend *backend, const op_case *row)
{
    if (row->flags & OP_CASE_FOLD && !backend->impl->folds_norm)
        return true;
    op_run *run = make(backend, row);
    char *text = op_case_text(row);
    run_once(run);
    double forward = median_ms(run, op_run_forward);
    double inputs = run->backward ? median_ms(run, inputs_pass) : 0.0;
    double params = run->backward ? median_ms(run, params_pass) : 0.0;
    printf("%-58s forward %9.3f  backward inputs %9.3f  params %9.3f ms  [%s]\n", text, forward,
           inputs, params, run->op->kernels);
    free(text);
    op_run_free(run);
    return true;
}

static bool is_mode(const options *o, const char *mode)
{
    return strcmp(o->mode, mode) == 0;
}

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (reid_str_starts(argv[i], "--") && (i + 1 == argc || reid_str_starts(argv[i + 1], "--")))
            o->mode = argv[i] + 2;
        else if (strcmp(argv[i], "--filter") == 0)
            o->filter = argv[++i];
        else if (strcmp(argv[i], "--backend") == 0)
            o->backend = argv[++i];
        else if (strcmp(argv[i], "--threads") != 0 ||
                 reid_parse_int64(argv[++i], &o->threads) != REID_OK)
            return false;
    }
    return is_mode(o, "compare") || is_mode(o, "gradient") || is_mode(o, "time");
}

static reid_backend *open_backend(const char *name, int64_t threads)
{
    reid_error err = {0};
    reid_backend *backend = NULL;
    if (reid_backend_open(name, (int)threads, &backend, &err) != REID_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return backend;
}

int main(int argc, char **argv)
{
    options o = {.mode = "", .filter = "", .backend = "cpu", .threads = 2};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: reid_ops --compare | --gradient | --time [--filter TEXT] [--threads N] "
                "[--backend NAME]\n");
        return 2;
    }
    reid_backend *ref = open_backend("ref", 1), *backend = open_backend(o.backend, o.threads);
    size_t rows = 0, failed = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        const op_case *row = &op_cases[i];
        char *text = op_case_text(row);
        if (strstr(text, o.filter) && (is_mode(&o, "time") || !(row->flags & OP_CASE_BIG))) {
            bool ok = is_mode(&o, "compare")    ? compare_row(ref, backend, row)
                      : is_mode(&o, "gradient") ? gradient_row(ref, row)
                                                : time_row(backend, row);
            rows++;
            failed += !ok;
            if (!ok)
                printf("FAILED %s\n", text);
        }
        free(text);
    }
    reid_backend_free(backend);
    reid_backend_free(ref);
    printf("%zu rows, %zu failed\n", rows, failed);
    return failed || !rows ? 1 : 0;
}
