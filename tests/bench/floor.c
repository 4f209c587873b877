/* The floor of one training step of a Bag-of-Tricks ResNet: the same convolutions, batch norms,
 * pooling, additions and Adam, called back to back through oneDNN on the best layouts, nothing
 * between. Real data flow forward and backward; every activation in one blocked layout, every
 * tensor allocated once; each 3×3 convolution direct or by Winograd, as measured per direction. The
 * head and the losses are left out, for they are small. Prints one JSON line like bench_step's. */
#include "floor_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "options.h"

#define LAYERS_MAX 3
#define BLOCKS_MAX 16
#define GRADS 5

typedef struct block {
    int layers;
    floor_conv conv[LAYERS_MAX], shortcut;
    floor_norm norm[LAYERS_MAX], shortcut_norm;
    bool project; /* the shortcut is a convolution */
    floor_activation in, out;
} block;

typedef struct network {
    floor_machine machine;
    floor_conv stem;
    floor_norm stem_norm;
    floor_pool pool;
    block blocks[BLOCKS_MAX];
    int count;
    void *grad[GRADS]; /* of a block's output, its branch's two in turns, the shortcut's two */
    void *top;         /* gradient of the last output */
} network;

static void add_layer(floor_machine *f, block *b, int channels, int kernel, int stride, bool relu)
{
    floor_activation in = b->layers ? b->norm[b->layers - 1].target : b->in;
    b->conv[b->layers] = floor_conv_new(f, in, channels, kernel, stride, kernel / 2, false);
    b->norm[b->layers] = floor_norm_new(f, b->conv[b->layers].target, relu);
    b->layers++;
}

static void make_block(floor_machine *f, block *b, floor_activation in, int planes, int stride,
                       bool bottleneck, bool first)
{
    int channels = bottleneck ? 4 * planes : planes;
    b->in = in;
    if (bottleneck)
        add_layer(f, b, planes, 1, 1, true);
    add_layer(f, b, planes, 3, stride, true);
    add_layer(f, b, channels, bottleneck ? 1 : 3, 1, false);
    b->project = first && (stride != 1 || in.channels != channels);
    if (b->project) {
        b->shortcut = floor_conv_new(f, in, channels, 1, stride, 0, false);
        b->shortcut_norm = floor_norm_new(f, b->shortcut.target, false);
    }
    b->out = b->norm[b->layers - 1].target;
}

static size_t largest(const network *n)
{
    size_t bytes = n->stem.target.bytes;
    for (int i = 0; i < n->count; i++) {
        const block *b = &n->blocks[i];
        bytes = b->in.bytes > bytes ? b->in.bytes : bytes;
        bytes = b->out.bytes > bytes ? b->out.bytes : bytes;
        bytes = b->conv[0].target.bytes > bytes ? b->conv[0].target.bytes : bytes;
    }
    return bytes;
}

static void make(network *n, const bench_options *o, bool bottleneck)
{
    static const int depths[2][4] = {{2, 2, 2, 2}, {3, 4, 6, 3}};
    floor_machine *f = &n->machine;
    f->batch = o->batch;
    f->type = o->bf16 ? dnnl_bf16 : dnnl_f32;
    f->direct = o->direct != 0;
    floor_open(f, (int)o->threads);
    floor_activation images = floor_activation_new(f, 3, o->height, o->width, dnnl_nchw);
    floor_fill(f, images.data, images.count, 3.5f);
    n->stem = floor_conv_new(f, images, 64, 7, 2, 3, true);
    n->stem_norm = floor_norm_new(f, n->stem.target, true);
    n->pool = floor_pool_new(f, n->stem_norm.target);
    floor_activation last = n->pool.target;
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < depths[bottleneck][stage]; i++) {
            int stride = i == 0 && (stage == 1 || stage == 2) ? 2 : 1; /* LAST_STRIDE is 1 */
            make_block(f, &n->blocks[n->count], last, 64 << stage, stride, bottleneck, i == 0);
            last = n->blocks[n->count++].out;
        }
    for (int i = 0; i < GRADS; i++)
        n->grad[i] = floor_alloc(largest(n));
    n->top = floor_alloc(last.bytes);
    floor_fill(f, n->top, last.count, 1e-3f);
    floor_prepare(f);
}

static void add_forward(network *n)
{
    floor_machine *f = &n->machine;
    floor_add_conv(f, &n->stem);
    floor_add_norm(f, &n->stem_norm);
    floor_add_pool(f, &n->pool);
    for (int i = 0; i < n->count; i++) {
        block *b = &n->blocks[i];
        for (int k = 0; k < b->layers; k++) {
            floor_add_conv(f, &b->conv[k]);
            floor_add_norm(f, &b->norm[k]);
        }
        if (b->project) {
            floor_add_conv(f, &b->shortcut);
            floor_add_norm(f, &b->shortcut_norm);
        }
        const floor_activation *shortcut = b->project ? &b->shortcut_norm.target : &b->in;
        floor_add_sum(f, &b->out, b->out.data, shortcut->data);
    }
}

static void add_block_backward(network *n, int index)
{
    floor_machine *f = &n->machine;
    const block *b = &n->blocks[index];
    void **g = n->grad;
    void *now = g[0];
    for (int k = b->layers - 1; k >= 0; k--) {
        floor_add_norm_backward(f, &b->norm[k], g[1], now);
        floor_add_conv_backward(f, &b->conv[k], g[2], g[1]);
        now = g[2];
    }
    if (b->project) {
        floor_add_norm_backward(f, &b->shortcut_norm, g[4], g[0]);
        floor_add_conv_backward(f, &b->shortcut, g[3], g[4]);
    }
    /* What comes before is the output of a ReLU, or of the pooling of one. */
    floor_add_masked(f, g[0], g[2], b->project ? g[3] : g[0], &b->in);
}

static void add_backward(network *n)
{
    floor_machine *f = &n->machine;
    floor_add_masked(f, n->grad[0], n->top, NULL, &n->blocks[n->count - 1].out);
    for (int i = n->count - 1; i >= 0; i--)
        add_block_backward(n, i);
    floor_add_pool_backward(f, &n->pool, n->grad[2], n->grad[0]);
    floor_add_norm_backward(f, &n->stem_norm, n->grad[1], n->grad[2]);
    floor_add_conv_backward(f, &n->stem, NULL, n->grad[1]);
    floor_add_adam(f);
}

static void print_parts(const floor_machine *f, int64_t steps)
{
    fprintf(stderr, "%d of %d calls of convolutions by Winograd; ms per step:\n", f->winograd_calls,
            f->calls);
    for (int i = 0; i < FLOOR_PARTS; i++)
        fprintf(stderr, "%-14s %8.1f\n", floor_part_names[i], f->seconds[i] * 1e3 / (double)steps);
}

static void run(network *n, const bench_options *o)
{
    floor_machine *f = &n->machine;
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < o->warmup + o->steps; i++) {
        if (i == o->warmup)
            memset(f->seconds, 0, sizeof f->seconds);
        double start_s = reid_clock_seconds();
        floor_run(f, &f->forward);
        floor_run(f, &f->backward);
        if (i >= o->warmup)
            printf("%s%.4f", i > o->warmup ? ", " : "", reid_clock_seconds() - start_s);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("], \"peak_mib\": %ld, \"parameters\": %zu, \"winograd_calls\": %d}\n",
           usage.ru_maxrss / 1024, f->parameters, f->winograd_calls);
    if (o->summary)
        print_parts(f, o->steps);
}

int main(int argc, char **argv)
{
    bench_options options = BENCH_OPTIONS_DEFAULT;
    reid_error err = {0};
    reid_status status = bench_options_parse(argc, argv, &options, &err);
    bool bottleneck = strncmp(options.depth, "50", 2) == 0;
    if (status == REID_OK && !bottleneck && strncmp(options.depth, "18", 2) != 0)
        status = reid_fail(&err, REID_ERR_INVALID, "--depth is 18x or 50x");
    if (status != REID_OK) {
        fprintf(stderr, "bench_floor: %s\n", err.text);
        return 1;
    }
    network *n = reid_xcalloc(1, sizeof *n);
    make(n, &options, bottleneck);
    add_forward(n);
    add_backward(n);
    run(n, &options);
    free(n); /* the tensors go with the process */
    return 0;
}
