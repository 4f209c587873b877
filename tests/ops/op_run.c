#include "ops/op_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

static op_plain plain_new(size_t count)
{
    return (op_plain){count, reid_xcalloc(count, sizeof(float))};
}

static void *device_new(op_run *run, size_t bytes)
{
    void *memory = reid_backend_alloc(run->backend, bytes);
    REID_ASSERT(memory);
    reid_vec_reserve(&run->owned, run->owned.count + 1);
    run->owned.items[run->owned.count].memory = memory;
    run->owned.items[run->owned.count++].bytes = bytes;
    return memory;
}

static reid_shape output_shape(const op_case *c)
{
    int64_t kernel = c->conv.kernel, stride = c->conv.stride, pad = c->conv.padding;
    switch (c->kind) {
    case REID_OP_CONV2D:
        return reid_shape_4d(c->n, c->conv.out_channels, (c->h + 2 * pad - kernel) / stride + 1,
                             (c->w + 2 * pad - kernel) / stride + 1);
    case REID_OP_GLOBAL_AVG_POOL:
        return reid_shape_2d(c->n, c->c);
    case REID_OP_LINEAR:
        return reid_shape_2d(c->n, c->linear.out);
    case REID_OP_CROSS_ENTROPY:
    case REID_OP_TRIPLET:
    case REID_OP_ACCURACY:
        return reid_shape_scalar();
    default:
        return c->h ? reid_shape_4d(c->n, c->c, c->h, c->w) : reid_shape_2d(c->n, c->c);
    }
}

/* Pooling by its definition: windows that start inside. */
static reid_shape pool_shape(const op_case *c)
{
    int64_t size[2] = {c->h, c->w}, out[2];
    for (int k = 0; k < 2; k++) {
        out[k] = 0;
        for (int64_t start = -c->pool.padding; start < size[k]; start += c->pool.stride) {
            bool whole = start + c->pool.kernel <= size[k] + c->pool.padding;
            out[k] += whole || c->pool.ceil_mode;
        }
    }
    return reid_shape_4d(c->n, c->c, out[0], out[1]);
}

static bool takes_labels(reid_op_kind kind)
{
    return kind == REID_OP_CROSS_ENTROPY || kind == REID_OP_TRIPLET || kind == REID_OP_ACCURACY;
}

static void set_attributes(reid_op_desc *d, const op_case *c)
{
    switch (c->kind) {
    case REID_OP_CONV2D:
        d->attr.conv = c->conv;
        break;
    case REID_OP_BATCH_NORM:
        d->attr.norm = (reid_batch_norm){1e-5, 0.1, c->flags & OP_CASE_FROZEN};
        break;
    case REID_OP_MAX_POOL:
        d->attr.pool = c->pool;
        break;
    case REID_OP_LINEAR:
        d->attr.linear = c->linear;
        break;
    case REID_OP_CROSS_ENTROPY:
        d->attr.cross_entropy = c->cross_entropy;
        break;
    case REID_OP_TRIPLET:
        d->attr.triplet = c->triplet;
        break;
    default:
        break;
    }
}

static void set_params(op_run *run, reid_op_desc *d)
{
    const op_case *c = run->row;
    if (c->kind == REID_OP_CONV2D) {
        run->param_shape[0] =
            reid_shape_4d(c->conv.out_channels, c->c, c->conv.kernel, c->conv.kernel);
        run->param_shape[1] = run->param_shape[2] = reid_shape_1d(c->conv.out_channels);
        d->folded = c->flags & OP_CASE_FOLD;
        d->fold = (reid_batch_norm){1e-5, 0.1, false};
        d->param_count = d->folded ? 3 : 1 + c->conv.bias;
    } else if (c->kind == REID_OP_LINEAR) {
        run->param_shape[0] = reid_shape_2d(c->linear.out, c->c);
        run->param_shape[1] = reid_shape_1d(c->linear.out);
        d->param_count = 1 + c->linear.bias;
    } else if (c->kind == REID_OP_BATCH_NORM) {
        run->param_shape[0] = run->param_shape[1] = reid_shape_1d(c->c);
        d->param_count = 2;
    }
}

static reid_status describe(op_run *run, reid_op_desc *d, reid_error *err)
{
    const op_case *c = run->row;
    const reid_backend_impl *impl = run->backend->impl;
    reid_shape in = c->h ? reid_shape_4d(c->n, c->c, c->h, c->w) : reid_shape_2d(c->n, c->c);
    reid_shape out = c->kind == REID_OP_MAX_POOL ? pool_shape(c) : output_shape(c),
               labels = reid_shape_1d(c->n);
    reid_role role = c->flags & OP_CASE_IMAGES ? REID_ROLE_IMAGES : REID_ROLE_INNER;
    *d = (reid_op_desc){.kind = c->kind, .name = "case", .input_count = 1, .loss_scale = 1.5f};
    set_attributes(d, c);
    set_params(run, d);
    d->training = !(c->flags & OP_CASE_EVAL);
    d->direct = c->flags & OP_CASE_DIRECT;
    for (int pass = 0; c->flags & OP_CASE_WINOGRAD && pass < REID_OP_PASSES; pass++)
        d->algorithm[pass] = REID_ALGORITHM_WINOGRAD;
    d->relu = c->flags & OP_CASE_RELU;
    if (reid_backend_supports(run->backend, op_case_compute(c)))
        d->compute = op_case_compute(c);
    d->input[0] =
        impl->activation_layout(run->backend, role, &in, in.rank == 4 ? d->compute : REID_F32);
    d->output = impl->activation_layout(run->backend, REID_ROLE_INNER, &out,
                                        out.rank == 4 ? d->compute : REID_F32);
    if (takes_labels(c->kind)) {
        d->input_count = 2;
        d->input[1] = impl->activation_layout(run->backend, REID_ROLE_INNER, &labels, REID_I32);
    } else if (c->kind == REID_OP_ADD || c->flags & OP_CASE_RESIDUAL) {
        d->input_count = 2;
        d->input[1] = d->folded ? d->output : d->input[0];
    }
    run->backward =
        d->training && c->kind != REID_OP_ACCURACY && (c->kind != REID_OP_ADD || d->relu);
    for (int k = 0; k < d->param_count; k++) {
        REID_TRY(impl->param_layout(run->backend, d, k, &run->param_shape[k], &d->param[k], err));
        d->param_grad[k] = run->backward && !(k == 1 && c->flags & OP_CASE_FROZEN);
    }
    for (int k = 0; k < d->input_count; k++)
        d->input_grad[k] =
            run->backward && !(c->flags & OP_CASE_IMAGES) && d->input[k]->dtype != REID_I32;
    return REID_OK;
}

static void fill(op_run *run, op_plain *plain, uint32_t stream, double mean, double deviation)
{
    const op_case *c = run->row;
    uint64_t key =
        (uint64_t)(c->n * 1000003 + c->c * 10007 + c->h * 101 + c->w + (int64_t)c->kind * 7919);
    reid_rng rng = reid_rng_stream(key, REID_RNG_TEST, stream, 0);
    for (size_t i = 0; i < plain->count; i++)
        plain->data[i] = (float)(mean + deviation * reid_rng_normal(&rng));
    for (size_t i = 0; op_case_compute(c) != REID_F32 && i < plain->count; i++)
        plain->data[i] = reid_bf16_to_f32(reid_f32_to_bf16(plain->data[i]));
}

/* Rows of four share a label; losses over few classes wrap around. */
static void fill_labels(op_run *run)
{
    int32_t *labels = (int32_t *)run->input[1].data;
    int64_t classes = run->row->kind == REID_OP_TRIPLET ? run->row->n : run->row->c;
    for (int64_t i = 0; i < run->row->n; i++)
        labels[i] = (int32_t)(run->row->kind == REID_OP_TRIPLET ? i / 4 : i * 7 % classes);
}

static void fill_all(op_run *run)
{
    const reid_op_desc *d = &run->op->desc;
    double far = run->row->flags & OP_CASE_FAR ? 200.0 : 1.0;
    fill(run, &run->input[0], 1, 0.1, far);
    if (takes_labels(d->kind))
        fill_labels(run);
    else
        fill(run, &run->input[1], 2, 0.0, 1.0);
    int gamma = d->kind == REID_OP_BATCH_NORM ? 0 : d->folded ? 1 : -1;
    for (int k = 0; k < d->param_count; k++)
        fill(run, &run->param[k], 13 + (uint32_t)k, k == gamma ? 1.0 : 0.0, 0.3);
    for (int k = 0; k < REID_OP_GRAD_PARTS; k++)
        fill(run, &run->output_grad[k], 5 + (uint32_t)k, 0.0, 1.0);
    fill(run, &run->state[0], 8, 0.0, 0.5);
    fill(run, &run->state[1], 9, 1.0, 0.1);
}

static void allocate(op_run *run)
{
    reid_op *op = run->op;
    const reid_op_desc *d = &op->desc;
    reid_op_buffers *b = &op->buffers;
    for (int k = 0; k < d->input_count; k++) {
        run->input[k] = plain_new(reid_shape_count(&d->input[k]->shape));
        b->input[k] = b->saved_input[k] = device_new(run, d->input[k]->bytes);
        if (d->input_grad[k]) {
            run->input_grad[k] = plain_new(run->input[k].count);
            b->input_grad[k] = k && op->equal_grads ? NULL : device_new(run, d->input[k]->bytes);
        }
    }
    run->output = plain_new(reid_shape_count(&d->output->shape));
    b->output = b->saved_output = device_new(run, d->output->bytes);
    for (int k = 0; k < (run->row->flags & OP_CASE_TWO ? 2 : 1); k++) {
        run->output_grad[k] = plain_new(run->output.count);
        b->output_grad[k] = device_new(run, d->output->bytes);
    }
    for (int k = 0; k < d->param_count; k++) {
        run->param[k] = plain_new(reid_shape_count(&run->param_shape[k]));
        b->param[k] = device_new(run, d->param[k]->bytes + 64);
        if (d->param_grad[k]) {
            run->param_grad[k] = plain_new(run->param[k].count);
            b->param_grad[k] = device_new(run, d->param[k]->bytes + 64);
        }
    }
    bool norm = d->kind == REID_OP_BATCH_NORM || d->folded;
    for (int k = 0; norm && k < REID_OP_STATES; k++) {
        run->state[k] = plain_new(k < 2 ? (size_t)d->output->shape.dim[1] : 1);
        b->state[k] = device_new(run, (run->state[k].count + 16) * sizeof(float));
    }
    b->workspace = op->workspace_bytes ? device_new(run, op->workspace_bytes) : NULL;
    b->scratch = device_new(run, op->scratch_bytes + 64);
}

reid_status op_run_new(reid_backend *backend, const op_case *row, op_run **ret_run, reid_error *err)
{
    op_run *run = reid_xcalloc(1, sizeof *run);
    reid_op_desc desc;
    run->backend = backend;
    run->row = row;
    if (backend->impl->begin)
        backend->impl->begin(backend);
    reid_status status = describe(run, &desc, err);
    if (status == REID_OK)
        status = backend->impl->op_new(backend, &desc, &run->op, err);
    if (status == REID_OK) {
        allocate(run);
        fill_all(run);
        if (run->op->impl->bind)
            status = run->op->impl->bind(run->op, err);
    }
    if (status != REID_OK) {
        op_run_free(run);
        return status;
    }
    *ret_run = run;
    return REID_OK;
}

void op_run_free(op_run *run)
{
    if (!run)
        return;
    if (run->op)
        run->op->impl->free(run->op);
    for (size_t i = 0; i < run->owned.count; i++)
        reid_backend_release(run->backend, run->owned.items[i].memory, run->owned.items[i].bytes);
    reid_vec_fini(&run->owned);
    op_plain *all[] = {run->input, run->output_grad, run->input_grad};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
        for (int i = 0; i < 2; i++)
            free(all[k][i].data);
    for (int i = 0; i < REID_OP_PARAMS; i++) {
        free(run->param[i].data);
        free(run->param_grad[i].data);
    }
    for (int i = 0; i < REID_OP_STATES; i++)
        free(run->state[i].data);
    free(run->output.data);
    free(run);
}

static void store_plain(op_run *run, const reid_layout *layout, const op_plain *plain,
                        const void *device)
{
    if (!plain->data || !device)
        return;
    if (layout->dtype == REID_I32)
        reid_backend_copy_in(run->backend, (void *)device, plain->data, layout->bytes);
    else
        reid_backend_from_plain(run->backend, layout, plain->data, (void *)device);
}

void op_run_store(op_run *run)
{
    const reid_op_desc *d = &run->op->desc;
    const reid_op_buffers *b = &run->op->buffers;
    for (int k = 0; k < d->input_count; k++)
        store_plain(run, d->input[k], &run->input[k], b->input[k]);
    for (int k = 0; k < d->param_count; k++)
        store_plain(run, d->param[k], &run->param[k], b->param[k]);
    for (int k = 0; k < REID_OP_GRAD_PARTS; k++)
        store_plain(run, d->output, &run->output_grad[k], b->output_grad[k]);
    for (int k = 0; k < REID_OP_STATES; k++)
        if (b->state[k])
            reid_backend_copy_in(run->backend, b->state[k], run->state[k].data,
                                 run->state[k].count * sizeof(float));
}

reid_status op_run_forward(op_run *run, reid_error *err)
{
    return run->op->impl->forward(run->op, err);
}

reid_status op_run_backward(op_run *run, reid_error *err)
{
    if (run->op->impl->backward_params)
        REID_TRY(run->op->impl->backward_params(run->op, err));
    return run->op->impl->backward_inputs ? run->op->impl->backward_inputs(run->op, err) : REID_OK;
}

void op_run_fetch(op_run *run)
{
    const reid_op_desc *d = &run->op->desc;
    const reid_op_buffers *b = &run->op->buffers;
    reid_backend_to_plain(run->backend, d->output, b->output, run->output.data);
    for (int k = 0; run->backward && k < d->input_count; k++) {
        const void *grad = k && run->op->equal_grads ? b->input_grad[0] : b->input_grad[k];
        if (d->input_grad[k])
            reid_backend_to_plain(run->backend, d->input[k], grad, run->input_grad[k].data);
    }
    for (int k = 0; run->backward && k < d->param_count; k++)
        if (d->param_grad[k])
            reid_backend_to_plain(run->backend, d->param[k], b->param_grad[k],
                                  run->param_grad[k].data);
    for (int k = 0; k < REID_OP_STATES; k++)
        if (b->state[k])
            reid_backend_copy_out(run->backend, run->state[k].data, b->state[k],
                                  run->state[k].count * sizeof(float));
}

bool op_run_can_recompute(const op_run *run)
{
    return run->op->desc.training && run->op->impl->recompute;
}

reid_status op_run_recompute(op_run *run, reid_error *err)
{
    reid_op_buffers *b = &run->op->buffers;
    size_t bytes = run->op->desc.output->bytes;
    b->saved_output = device_new(run, bytes);
    reid_backend_zero(run->backend, b->output, bytes);
    REID_TRY(run->op->impl->recompute(run->op, err));
    b->output = b->saved_output;
    return REID_OK;
}
