/* Losses against values from PyTorch 1.13 in double precision (the formulas of fast-reid written
 * there), on both backends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "backend/op.h"

#define ROWS 6
#define WIDTH 4

typedef struct loss_case {
    reid_op_kind kind;
    union {
        reid_cross_entropy entropy;
        reid_triplet triplet;
    };
    float loss;
    float gradient[ROWS * WIDTH];
} loss_case;

static const int32_t classes[ROWS] = {0, 3, 1, 2, 0, 1}, identities[ROWS] = {0, 0, 1, 1, 2, 2};

/* clang-format off */
static const loss_case cases[] = {
    {REID_OP_CROSS_ENTROPY, .entropy = {0.1, 0.2}, 1.56811164f,
     {-0.13903236f, 0.086275367f, 0.037822301f, 0.014934693f, 0.044216682f, 0.03836829f, 
0.033207102f, -0.11579207f, 0.011367165f, -0.12209915f, 0.040445169f, 0.070286817f, 0.086931711f, 
0.010516322f, -0.10049513f, 0.0030471003f, -0.10613376f, 0.0086857274f, 0.076397369f, 
0.021050664f, 0.001942863f, -0.069384403f, 0.043340275f, 0.024101265f}},
    {REID_OP_CROSS_ENTROPY, .entropy = {0, 0.2}, 1.56116719f,
     {-0.15569903f, 0.091830922f, 0.043377856f, 0.020490248f, 0.049772238f, 0.043923846f, 
0.038762658f, -0.13245874f, 0.016922721f, -0.13876582f, 0.046000724f, 0.075842372f, 0.092487267f, 
0.016071877f, -0.1171618f, 0.0086026559f, -0.12280043f, 0.014241283f, 0.081952925f, 0.026606219f, 
0.0074984185f, -0.08605107f, 0.048895831f, 0.029656821f}},
    {REID_OP_CROSS_ENTROPY, .entropy = {-1, 0.2}, 1.58575648f,
     {-0.1535055f, 0.091099746f, 0.04264668f, 0.019759072f, 0.047491709f, 0.041643317f, 
0.036482129f, -0.12561716f, 0.015062664f, -0.13318565f, 0.044140667f, 0.073982316f, 0.089186943f, 
0.012771553f, -0.10726083f, 0.0053023315f, -0.11402718f, 0.011316867f, 0.079028509f, 
0.023681803f, 0.0021240454f, -0.069927951f, 0.043521458f, 0.024282448f}},
    {REID_OP_CROSS_ENTROPY, .entropy = {-1, 0.7}, 1.6472297f,
     {-0.14802168f, 0.089271806f, 0.04081874f, 0.017931133f, 0.041790389f, 0.035941996f, 
0.030780809f, -0.10851319f, 0.010412522f, -0.11923522f, 0.039490526f, 0.069332174f, 0.080936131f, 
0.0045207416f, -0.082508393f, -0.0029484797f, -0.092094059f, 0.004005827f, 0.071717469f, 
0.016370763f, -0.011311887f, -0.029620153f, 0.030085525f, 0.010846515f}},
    {REID_OP_TRIPLET, .triplet = {0.3, false, true}, 1.45643057f,
     {-0.25936834f, 0.19360551f, 0.1607241f, 0.12784269f, 0.036577456f, -0.19967902f, 
0.049919756f, 0.29951854f, 0.050877001f, 0.17469204f, -0.043673009f, 0.080142026f, -0.050877001f, 
-0.17469204f, 0.043673009f, -0.080142026f, 0.39623403f, -0.17419493f, -0.044026003f, 
-0.26415602f, -0.17344315f, 0.18026844f, -0.16661785f, -0.16320521f}},
    {REID_OP_TRIPLET, .triplet = {0.3, true, true}, 2.49821834f,
     {-0.21154743f, -0.16310546f, 0.030813021f, 0.2247315f, 0.89181237f, -1.3060825f, 
-0.063272133f, 0.098680248f, -0.14853544f, 0.54681832f, -0.13875215f, 0.079988047f, 0.06941942f, 
0.085977097f, -0.017830209f, -0.001272532f, 0.58614063f, -0.067329789f, -0.22288834f, 
-0.16087922f, -0.027327795f, 0.10626111f, -0.26269234f, 0.083833761f}},
    {REID_OP_TRIPLET, .triplet = {0, false, true}, 1.44241103f,
     {-0.16803943f, 0.13920879f, 0.12479347f, 0.11037815f, 0.011381472f, -0.13790314f, 
0.034475786f, 0.20685472f, 0.018884098f, 0.12925584f, -0.03231396f, 0.078057781f, -0.03903519f, 
-0.13821188f, 0.03455297f, -0.06462372f, 0.31522239f, -0.14269271f, -0.035024709f, -0.21014826f, 
-0.13841333f, 0.1503431f, -0.12648356f, -0.12051867f}},
    {REID_OP_TRIPLET, .triplet = {0, true, true}, 2.31294676f,
     {-0.18224786f, -0.13273371f, 0.034326826f, 0.20138736f, 0.74762553f, -1.0916118f, 
-0.059652893f, 0.11632916f, -0.13565702f, 0.50247972f, -0.12934222f, 0.074950294f, 0.050388769f, 
0.066804729f, -0.022286723f, -0.0058707631f, 0.53118565f, -0.059672486f, -0.20079947f, 
-0.14753174f, -0.026500581f, 0.094408362f, -0.23777122f, 0.074175061f}},
    {REID_OP_TRIPLET, .triplet = {0.3, false, false}, 0.907561542f,
     {-0.27395062f, 0.13278357f, 0.11796378f, 0.090286399f, 0.18308036f, -0.23693857f, 
0.077758435f, 0.11290713f, -0.14568667f, 0.17747544f, -0.0052456703f, 0.079430075f, 0.058898346f, 
-0.091029135f, 0.020171871f, -0.11559528f, 0.29311618f, -0.12980358f, -0.063492004f, 
-0.11931645f, -0.11545759f, 0.14751228f, -0.14715642f, -0.047711867f}},
    {REID_OP_TRIPLET, .triplet = {0, true, false}, 1.7458866f,
     {-0.1995309f, -0.14312756f, 0.02720464f, 0.22267908f, 0.66822101f, -0.97458448f, 
-0.055494073f, 0.12716055f, -0.17650321f, 0.46632622f, -0.13310178f, 0.02330612f, 0.074339675f, 
0.0764114f, -0.043929568f, 0.00040548142f, 0.47200649f, -0.077154494f, -0.19307242f, 
-0.094550242f, 0.0029258079f, 0.11886457f, -0.22663753f, 0.092664605f}},
    {REID_OP_TRIPLET, .triplet = {0, false, false}, 1.06165066f,
     {-0.13485351f, 0.071845841f, 0.074461642f, 0.068929065f, 0.079618545f, -0.13579204f, 
0.045265803f, 0.054866242f, -0.11066311f, 0.11968434f, -0.0014187929f, 0.065017596f, 
0.045942628f, -0.066782376f, 0.014859564f, -0.088480703f, 0.20353525f, -0.10347737f, 
-0.042603178f, -0.08591471f, -0.083579802f, 0.11452162f, -0.090565039f, -0.01441749f}},
};
/* clang-format on */

static void features(float *ret, float scale)
{
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDTH; j++)
            ret[i * WIDTH + j] = (float)((i * 37 + j * 17 + i * j * 5) % 23 - 11) / 8.0f * scale;
}

/* Runs one loss on host memory; `workspace` is large enough for all cases. */
static reid_op *make(reid_backend *backend, const loss_case *c, const float *x, float *ret_loss,
                     float *ret_gradient, float *workspace)
{
    const reid_shape in = reid_shape_2d(ROWS, WIDTH), rows = reid_shape_1d(ROWS),
                     scalar = reid_shape_scalar();
    const reid_backend_impl *impl = backend->impl;
    reid_op_desc d = {
        .kind = c->kind, .name = "loss", .training = true, .input_count = 2, .loss_scale = 1.0f};
    d.input[0] = impl->activation_layout(backend, REID_ROLE_INNER, &in, REID_F32);
    d.input[1] = impl->activation_layout(backend, REID_ROLE_INNER, &rows, REID_I32);
    d.output = impl->activation_layout(backend, REID_ROLE_INNER, &scalar, REID_F32);
    d.input_grad[0] = true;
    if (c->kind == REID_OP_TRIPLET)
        d.attr.triplet = c->triplet;
    else
        d.attr.cross_entropy = c->entropy;
    reid_op *op = NULL;
    assert_int_equal(impl->op_new(backend, &d, &op, NULL), REID_OK);
    assert_true(op->workspace_bytes <= 256 * sizeof(float));
    op->buffers.input[0] = x;
    op->buffers.input[1] = c->kind == REID_OP_TRIPLET ? identities : classes;
    op->buffers.saved_input[0] = op->buffers.input[0];
    op->buffers.saved_input[1] = op->buffers.input[1];
    op->buffers.output = op->buffers.saved_output = ret_loss;
    op->buffers.input_grad[0] = ret_gradient;
    op->buffers.workspace = workspace;
    return op;
}

static void losses_and_gradients_match_pytorch(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (int b = 0; b < 2; b++) {
        reid_backend *backend = NULL;
        assert_int_equal(reid_backend_open(backends[b], 1, &backend, NULL), REID_OK);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            float x[ROWS * WIDTH], loss = NAN, gradient[ROWS * WIDTH], workspace[256];
            features(x, 1.0f);
            reid_op *op = make(backend, &cases[i], x, &loss, gradient, workspace);
            assert_int_equal(op->impl->forward(op, NULL), REID_OK);
            assert_int_equal(op->impl->backward_inputs(op, NULL), REID_OK);
            if (!(fabsf(loss - cases[i].loss) <= 2e-6f * cases[i].loss))
                fail_msg("case %zu: loss %.8g, PyTorch %.8g", i, (double)loss,
                         (double)cases[i].loss);
            for (int k = 0; k < ROWS * WIDTH; k++)
                if (!(fabsf(gradient[k] - cases[i].gradient[k]) <= 2e-6f))
                    fail_msg("case %zu: gradient[%d] %.8g, PyTorch %.8g", i, k, (double)gradient[k],
                             (double)cases[i].gradient[k]);
            op->impl->free(op);
        }
        reid_backend_free(backend);
    }
}

/* exp(ap - an) above float's range: fast-reid falls back to the hinge with 0.3. PyTorch:
 * 115.943062. */
static void a_soft_margin_that_overflows_becomes_a_hinge(void **state)
{
    const loss_case c = {REID_OP_TRIPLET, .triplet = {0.0, false, true}};
    float x[ROWS * WIDTH], loss = NAN, gradient[ROWS * WIDTH], workspace[256];
    reid_backend *backend = NULL;
    assert_int_equal(reid_backend_open("ref", 1, &backend, NULL), REID_OK);
    features(x, 100.0f);
    reid_op *op = make(backend, &c, x, &loss, gradient, workspace);
    assert_int_equal(op->impl->forward(op, NULL), REID_OK);
    assert_true(fabsf(loss - 115.943062f) < 1e-3f);
    op->impl->free(op);
    reid_backend_free(backend);
}

static void a_feature_that_is_not_a_number_shows(void **state)
{
    reid_backend *backend = NULL;
    assert_int_equal(reid_backend_open("cpu", 1, &backend, NULL), REID_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float x[ROWS * WIDTH], loss = 0.0f, gradient[ROWS * WIDTH], workspace[256];
        features(x, 1.0f);
        x[5] = NAN;
        reid_op *op = make(backend, &cases[i], x, &loss, gradient, workspace);
        assert_int_equal(op->impl->forward(op, NULL), REID_OK);
        if (!isnan(loss))
            fail_msg("case %zu: a NaN became the loss %g", i, (double)loss);
        op->impl->free(op);
    }
    reid_backend_free(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_match_pytorch),
        cmocka_unit_test(a_soft_margin_that_overflows_becomes_a_hinge),
        cmocka_unit_test(a_feature_that_is_not_a_number_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
