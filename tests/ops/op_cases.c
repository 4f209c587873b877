#include "ops/op_cases.h"

#include "base/str.h"

#define CONV(flags, n, c, h, w, o, k, s, p, ...)                                                   \
    {                                                                                              \
        .kind = REID_OP_CONV2D, flags, n, c, h, w, .conv = { o, k, s, p, __VA_ARGS__ }             \
    }
#define NORM(flags, n, c, h, w)                                                                    \
    {                                                                                              \
        .kind = REID_OP_BATCH_NORM, flags, n, c, h, w                                              \
    }
#define ELEMENTWISE(op, flags, n, c, h, w)                                                         \
    {                                                                                              \
        .kind = op, flags, n, c, h, w                                                              \
    }
#define POOL(flags, n, c, h, w, ...)                                                               \
    {                                                                                              \
        .kind = REID_OP_MAX_POOL, flags, n, c, h, w, .pool = { __VA_ARGS__ }                       \
    }
#define AVERAGE(flags, n, c, h, w)                                                                 \
    {                                                                                              \
        .kind = REID_OP_GLOBAL_AVG_POOL, flags, n, c, h, w                                         \
    }
#define LINEAR(flags, n, c, ...)                                                                   \
    {                                                                                              \
        .kind = REID_OP_LINEAR, flags, n, c, .linear = { __VA_ARGS__ }                             \
    }
#define ENTROPY(n, c, ...)                                                                         \
    {                                                                                              \
        .kind = REID_OP_CROSS_ENTROPY, 0, n, c, .cross_entropy = { __VA_ARGS__ }                   \
    }
#define TRIPLET(flags, n, c, ...)                                                                  \
    {                                                                                              \
        .kind = REID_OP_TRIPLET, flags, n, c, .triplet = { __VA_ARGS__ }                           \
    }

const op_case op_cases[] = {
    /* stem, on plain images of one to three channels and on more */
    CONV(OP_CASE_IMAGES, 2, 3, 32, 16, 64, 7, 2, 3),
    CONV(OP_CASE_IMAGES, 1, 3, 17, 11, 16, 3, 1, 1),
    CONV(OP_CASE_IMAGES, 2, 3, 12, 8, 10, 3, 1, 1, .bias = true),
    CONV(OP_CASE_IMAGES, 2, 1, 9, 9, 16, 3, 2, 1),
    CONV(OP_CASE_IMAGES, 2, 4, 9, 7, 16, 3, 1, 1),
    CONV(OP_CASE_IMAGES, 2, 20, 9, 7, 16, 5, 1, 2),
    /* 3×3, where Winograd may be chosen, and the same without */
    {.kind = REID_OP_CONV2D, 0, 2, 64, 16, 8, .conv = {64, 3, 1, 1}, .tolerance = 2e-4},
    {.kind = REID_OP_CONV2D, 0, 4, 32, 7, 5, .conv = {48, 3, 1, 1, true}, .tolerance = 2e-4},
    {.kind = REID_OP_CONV2D, 0, 1, 16, 1, 1, .conv = {16, 3, 1, 1}, .tolerance = 2e-4},
    CONV(OP_CASE_DIRECT, 2, 64, 16, 8, 64, 3, 1, 1),
    CONV(OP_CASE_DIRECT, 3, 16, 5, 7, 32, 3, 1, 0),
    CONV(0, 2, 32, 9, 6, 32, 3, 2, 1),
    CONV(0, 1, 16, 8, 8, 16, 3, 2, 1, .bias = true),
    /* channels that fill no block */
    {.kind = REID_OP_CONV2D, 0, 2, 20, 9, 7, .conv = {24, 3, 1, 1}, .tolerance = 2e-4},
    CONV(0, 2, 5, 9, 7, 10, 3, 1, 1),
    CONV(0, 1, 7, 4, 4, 3, 3, 2, 1, .bias = true),
    CONV(0, 3, 1, 5, 5, 1, 1, 1, 0),
    /* 1×1 */
    CONV(0, 2, 64, 8, 4, 256, 1, 1, 0),
    CONV(0, 2, 64, 8, 4, 128, 1, 2, 0),
    CONV(0, 1, 32, 7, 5, 64, 1, 2, 0, .bias = true),
    CONV(0, 4, 48, 1, 1, 17, 1, 1, 0),
    CONV(0, 2, 33, 3, 3, 31, 1, 1, 0, .bias = true),

    NORM(0, 4, 32, 6, 5),
    NORM(OP_CASE_RELU, 4, 32, 6, 5),
    NORM(OP_CASE_RELU | OP_CASE_TWO, 3, 16, 7, 3),
    NORM(OP_CASE_RESIDUAL, 2, 20, 4, 4),
    NORM(OP_CASE_RESIDUAL | OP_CASE_RELU, 3, 20, 5, 4),
    NORM(OP_CASE_RESIDUAL | OP_CASE_RELU | OP_CASE_TWO, 2, 64, 4, 4),
    NORM(0, 1, 5, 3, 2),
    NORM(OP_CASE_TWO, 5, 1, 1, 1),
    /* sums in several parts, more channels than one block has */
    NORM(OP_CASE_RELU | OP_CASE_TWO, 9, 24, 20, 16),
    NORM(OP_CASE_RESIDUAL | OP_CASE_RELU, 3, 516, 9, 11),
    NORM(OP_CASE_EVAL, 2, 20, 4, 3),
    NORM(OP_CASE_EVAL | OP_CASE_RESIDUAL | OP_CASE_RELU, 1, 16, 1, 1),
    NORM(0, 8, 100, 0, 0),
    NORM(OP_CASE_FROZEN | OP_CASE_TWO, 6, 64, 0, 0),
    NORM(OP_CASE_RELU, 5, 3, 0, 0),
    NORM(OP_CASE_RESIDUAL | OP_CASE_RELU, 4, 17, 0, 0),
    NORM(OP_CASE_EVAL, 1, 40, 0, 0),

    ELEMENTWISE(REID_OP_RELU, 0, 2, 20, 3, 5),
    ELEMENTWISE(REID_OP_RELU, OP_CASE_TWO, 1, 16, 1, 1),
    ELEMENTWISE(REID_OP_RELU, 0, 3, 7, 0, 0),
    ELEMENTWISE(REID_OP_ADD, 0, 2, 20, 3, 5),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_RELU, 2, 16, 5, 3),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_RELU | OP_CASE_TWO, 2, 33, 2, 2),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_RELU, 3, 7, 0, 0),

    POOL(0, 2, 16, 8, 8, 3, 2, 0, true),
    POOL(OP_CASE_TWO, 2, 20, 9, 7, 3, 2, 0, true),
    POOL(0, 1, 16, 8, 6, 3, 2, 1, false),
    POOL(0, 2, 3, 5, 5, 2, 2, 0, false),
    POOL(0, 1, 17, 7, 7, 3, 1, 1, true),
    POOL(0, 1, 1, 3, 3, 3, 2, 0, true),
    POOL(OP_CASE_TWO, 2, 160, 6, 5, 5, 1, 2, false),
    POOL(OP_CASE_EVAL, 2, 16, 8, 8, 3, 2, 0, true),

    AVERAGE(0, 2, 16, 16, 8),
    AVERAGE(OP_CASE_TWO, 3, 20, 5, 3),
    AVERAGE(0, 1, 1, 1, 1),
    AVERAGE(OP_CASE_TWO, 2, 260, 3, 3),

    LINEAR(0, 8, 64, 31, false, 1.0),
    LINEAR(0, 4, 33, 17, true, 1.0),
    LINEAR(0, 1, 16, 5, true, 16.0),
    LINEAR(0, 6, 2048, 3, false, 30.0),

    ENTROPY(8, 10, 0.1),
    ENTROPY(5, 33, 0.0),
    ENTROPY(1, 2, 0.1),
    ENTROPY(3, 1041, 0.1),
    {.kind = REID_OP_CROSS_ENTROPY, OP_CASE_DETACHED, 6, 12, .cross_entropy = {-1.0, 0.2}},
    ENTROPY(4, 7, 1.0),

    TRIPLET(0, 8, 16, 0.3, false, true),
    TRIPLET(0, 8, 16, 0.0, false, true),
    TRIPLET(0, 8, 16, 0.3, true, true),
    TRIPLET(0, 8, 17, 0.0, true, false),
    TRIPLET(0, 8, 33, 0.3, false, false),
    TRIPLET(0, 12, 8, 0.0, false, false),
    TRIPLET(OP_CASE_FAR, 8, 8, 0.0, false, true),
    TRIPLET(OP_CASE_MANY, 40, 70, 0.3, false, true),
    TRIPLET(OP_CASE_MANY, 40, 70, 0.0, false, false),
    TRIPLET(OP_CASE_MANY, 140, 9, 0.0, true, true),
    TRIPLET(0, 2, 5, 0.3, false, true),
    TRIPLET(0, 1, 5, 0.3, false, true),

    {.kind = REID_OP_ACCURACY, 0, 16, 3},
    {.kind = REID_OP_ACCURACY, 0, 1, 40},
    {.kind = REID_OP_ACCURACY, 0, 6, 300},

    /* bf16 for load and store */
    CONV(OP_CASE_BF16 | OP_CASE_IMAGES, 2, 3, 32, 16, 64, 7, 2, 3),
    CONV(OP_CASE_BF16 | OP_CASE_IMAGES, 2, 20, 9, 7, 16, 5, 1, 2, .bias = true),
    CONV(OP_CASE_BF16, 2, 64, 16, 8, 64, 3, 1, 1),
    CONV(OP_CASE_BF16 | OP_CASE_WINOGRAD, 4, 32, 16, 8, 48, 3, 1, 1),
    CONV(OP_CASE_BF16 | OP_CASE_WINOGRAD, 2, 16, 9, 7, 32, 3, 1, 1, .bias = true),
    CONV(OP_CASE_BF16 | OP_CASE_WINOGRAD, 2, 20, 9, 7, 24, 3, 2, 1, .bias = true),
    CONV(OP_CASE_BF16, 2, 20, 9, 7, 24, 3, 2, 1, .bias = true),
    CONV(OP_CASE_BF16, 2, 64, 8, 4, 128, 1, 2, 0),
    CONV(OP_CASE_BF16, 3, 33, 3, 3, 31, 1, 1, 0),
    NORM(OP_CASE_BF16, 4, 32, 6, 5),
    NORM(OP_CASE_BF16 | OP_CASE_RELU | OP_CASE_TWO, 3, 20, 7, 3),
    NORM(OP_CASE_BF16 | OP_CASE_RESIDUAL | OP_CASE_RELU | OP_CASE_TWO, 3, 33, 5, 3),
    NORM(OP_CASE_BF16 | OP_CASE_RELU, 5, 272, 9, 12),
    NORM(OP_CASE_BF16 | OP_CASE_EVAL | OP_CASE_RELU, 2, 20, 4, 3),
    ELEMENTWISE(REID_OP_RELU, OP_CASE_BF16 | OP_CASE_TWO, 2, 20, 3, 5),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_BF16 | OP_CASE_RELU, 2, 33, 2, 2),
    POOL(OP_CASE_BF16, 2, 20, 9, 7, 3, 2, 0, true),
    AVERAGE(OP_CASE_BF16 | OP_CASE_TWO, 3, 20, 5, 3),

    /* evaluation: the batch norm in the convolution */
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_RELU | OP_CASE_IMAGES, 2, 3, 32, 16, 64, 7, 2, 3),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL, 2, 20, 9, 7, 24, 3, 2, 1),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_RELU, 2, 64, 8, 4, 128, 1, 2, 0),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_RESIDUAL | OP_CASE_RELU, 3, 33, 3, 3, 31, 1, 1, 0),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_RESIDUAL, 2, 20, 9, 7, 24, 3, 1, 1),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_BF16 | OP_CASE_RELU, 2, 20, 9, 7, 24, 3, 2, 1),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_BF16 | OP_CASE_RESIDUAL | OP_CASE_RELU, 2, 64, 8, 4,
         128, 1, 1, 0),
    CONV(OP_CASE_FOLD | OP_CASE_EVAL | OP_CASE_F16 | OP_CASE_RESIDUAL | OP_CASE_RELU, 2, 20, 9, 7,
         24, 3, 1, 1),

    /* fp16 */
    CONV(OP_CASE_F16 | OP_CASE_IMAGES, 2, 3, 32, 16, 64, 7, 2, 3),
    CONV(OP_CASE_F16, 2, 20, 9, 7, 24, 3, 2, 1, .bias = true),
    CONV(OP_CASE_F16, 2, 64, 8, 4, 128, 1, 2, 0),
    CONV(OP_CASE_F16, 3, 33, 3, 3, 31, 1, 1, 0),
    NORM(OP_CASE_F16 | OP_CASE_RELU | OP_CASE_TWO, 3, 20, 7, 3),
    NORM(OP_CASE_F16 | OP_CASE_RESIDUAL | OP_CASE_RELU | OP_CASE_TWO, 3, 33, 5, 3),
    NORM(OP_CASE_F16 | OP_CASE_EVAL | OP_CASE_RELU, 2, 20, 4, 3),
    ELEMENTWISE(REID_OP_RELU, OP_CASE_F16 | OP_CASE_TWO, 2, 20, 3, 5),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_F16 | OP_CASE_RELU, 2, 33, 2, 2),
    POOL(OP_CASE_F16, 2, 20, 9, 7, 3, 2, 0, true),
    AVERAGE(OP_CASE_F16 | OP_CASE_TWO, 3, 20, 5, 3),

    /* ResNet-50 on 256×128, batch 32 */
    CONV(OP_CASE_BIG | OP_CASE_IMAGES, 32, 3, 256, 128, 64, 7, 2, 3),
    CONV(OP_CASE_BIG, 32, 64, 64, 32, 64, 1, 1, 0),
    CONV(OP_CASE_BIG, 32, 64, 64, 32, 64, 3, 1, 1),
    CONV(OP_CASE_BIG | OP_CASE_DIRECT, 32, 64, 64, 32, 64, 3, 1, 1),
    CONV(OP_CASE_BIG, 32, 64, 64, 32, 256, 1, 1, 0),
    CONV(OP_CASE_BIG, 32, 256, 64, 32, 64, 1, 1, 0),
    CONV(OP_CASE_BIG, 32, 128, 64, 32, 128, 3, 2, 1),
    CONV(OP_CASE_BIG, 32, 128, 32, 16, 128, 3, 1, 1),
    CONV(OP_CASE_BIG | OP_CASE_DIRECT, 32, 128, 32, 16, 128, 3, 1, 1),
    CONV(OP_CASE_BIG, 32, 256, 16, 8, 256, 3, 1, 1),
    CONV(OP_CASE_BIG | OP_CASE_DIRECT, 32, 256, 16, 8, 256, 3, 1, 1),
    CONV(OP_CASE_BIG, 32, 512, 16, 8, 512, 3, 1, 1),
    CONV(OP_CASE_BIG | OP_CASE_DIRECT, 32, 512, 16, 8, 512, 3, 1, 1),
    NORM(OP_CASE_BIG | OP_CASE_RELU, 32, 64, 128, 64),
    NORM(OP_CASE_BIG | OP_CASE_RELU, 32, 64, 64, 32),
    NORM(OP_CASE_BIG | OP_CASE_RELU | OP_CASE_RESIDUAL | OP_CASE_TWO, 32, 256, 64, 32),
    NORM(OP_CASE_BIG | OP_CASE_RELU | OP_CASE_RESIDUAL | OP_CASE_TWO, 32, 2048, 16, 8),
    ELEMENTWISE(REID_OP_ADD, OP_CASE_BIG | OP_CASE_RELU | OP_CASE_TWO, 32, 256, 64, 32),
    POOL(OP_CASE_BIG, 32, 64, 128, 64, 3, 2, 0, true),
    AVERAGE(OP_CASE_BIG, 32, 2048, 16, 8),
    LINEAR(OP_CASE_BIG, 64, 2048, 751, false, 1.0),
    ENTROPY(64, 751, 0.1),
    TRIPLET(OP_CASE_BIG, 64, 2048, 0.3, false, true),
    TRIPLET(OP_CASE_BIG, 64, 2048, 0.0, true, false),
};

const size_t op_case_count = sizeof op_cases / sizeof op_cases[0];

char *op_case_text(const op_case *c)
{
    reid_str s = REID_STR_INIT;
    reid_str_addf(&s, "%s %lldx%lld", reid_op_kind_name(c->kind), (long long)c->n, (long long)c->c);
    if (c->h)
        reid_str_addf(&s, "x%lldx%lld", (long long)c->h, (long long)c->w);
    if (c->kind == REID_OP_CONV2D)
        reid_str_addf(&s, " to %lld k%d s%d p%d%s", (long long)c->conv.out_channels, c->conv.kernel,
                      c->conv.stride, c->conv.padding, c->conv.bias ? " +bias" : "");
    if (c->kind == REID_OP_MAX_POOL)
        reid_str_addf(&s, " k%d s%d p%d%s", c->pool.kernel, c->pool.stride, c->pool.padding,
                      c->pool.ceil_mode ? " ceil" : "");
    if (c->kind == REID_OP_LINEAR)
        reid_str_addf(&s, " to %lld%s x%g", (long long)c->linear.out,
                      c->linear.bias ? " +bias" : "", c->linear.scale);
    if (c->kind == REID_OP_CROSS_ENTROPY)
        reid_str_addf(&s, " epsilon %g", c->cross_entropy.epsilon);
    if (c->kind == REID_OP_TRIPLET)
        reid_str_addf(&s, " margin %g%s%s", c->triplet.margin,
                      c->triplet.norm_feat ? " cosine" : "",
                      c->triplet.hard_mining ? " hard" : " weighted");
    static const char *const flags[] = {"relu", "residual", "eval", "two",      "images", "direct",
                                        "big",  "frozen",   "far",  "detached", "bf16"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (c->flags & 1u << i && flags[i][0] != 'b')
            reid_str_addf(&s, " +%s", flags[i]);
    if (c->flags & OP_CASE_FOLD)
        reid_str_add(&s, " +norm");
    if (op_case_compute(c) != REID_F32)
        reid_str_addf(&s, " in %s", reid_dtype_name(op_case_compute(c)));
    return reid_str_take(&s);
}
