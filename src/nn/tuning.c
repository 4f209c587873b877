#include "nn/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/vec.h"
#include "nn/describe.h"
#include "nn/plan_impl.h"

#define KEY_SIZE 128

typedef struct row {
    char key[KEY_SIZE];
    reid_algorithm algorithm[REID_OP_PASSES];
} row;

struct reid_tuning {
    REID_VEC(row) rows;
};

static const char *const words[REID_ALGORITHMS] = {"rule", "direct", "winograd"};

reid_tuning *reid_tuning_new(void)
{
    return reid_xcalloc(1, sizeof(reid_tuning));
}

void reid_tuning_free(reid_tuning *tuning)
{
    if (!tuning)
        return;
    reid_vec_fini(&tuning->rows);
    free(tuning);
}

size_t reid_tuning_count(const reid_tuning *tuning)
{
    return tuning->rows.count;
}

static void write_key(char key[KEY_SIZE], const reid_op_desc *desc)
{
    const reid_conv2d *a = &desc->attr.conv;
    const int64_t *in = desc->input[0]->shape.dim;
    snprintf(key, KEY_SIZE, "n%lld c%lld o%lld %lldx%lld k%lld s%lld p%lld %s", (long long)in[0],
             (long long)in[1], (long long)a->out_channels, (long long)in[2], (long long)in[3],
             (long long)a->kernel, (long long)a->stride, (long long)a->padding,
             reid_dtype_name(desc->compute));
}

static const row *find(const reid_tuning *tuning, const char *key)
{
    for (size_t i = 0; i < tuning->rows.count; i++)
        if (strcmp(tuning->rows.items[i].key, key) == 0)
            return &tuning->rows.items[i];
    return NULL;
}

void reid_tuning_apply(const reid_tuning *tuning, reid_op_desc *desc)
{
    char key[KEY_SIZE];
    if (desc->kind != REID_OP_CONV2D)
        return;
    write_key(key, desc);
    const row *found = find(tuning, key);
    if (found)
        memcpy(desc->algorithm, found->algorithm, sizeof desc->algorithm);
}

/* ---- shapes of a graph ---- */

static reid_op_desc describe(const reid_graph *g, reid_backend *backend, reid_dtype compute,
                             const reid_graph_node *node, char key[KEY_SIZE])
{
    const reid_params_options options = {.compute = compute};
    reid_op_desc desc = reid_describe_node(g, backend, &options, node);
    desc.training = true;
    for (int k = 0; k < node->param_count; k++)
        desc.param_grad[k] = node->param[k].trainable;
    desc.input_grad[0] = g->values.items[node->input[0]].input == REID_INPUT_NONE;
    write_key(key, &desc);
    return desc;
}

bool reid_tuning_covers(const reid_tuning *tuning, const reid_graph *g, reid_backend *backend,
                        reid_dtype compute)
{
    char key[KEY_SIZE];
    for (size_t i = 0; i < g->nodes.count; i++) {
        const reid_graph_node *node = &g->nodes.items[i];
        if (node->kind != REID_OP_CONV2D)
            continue;
        describe(g, backend, compute, node, key);
        if (!find(tuning, key))
            return false;
    }
    return true;
}

char *reid_tuning_shapes(const reid_graph *g, reid_backend *backend, reid_dtype compute)
{
    reid_tuning seen = {0};
    reid_str text = REID_STR_INIT;
    for (size_t i = 0; i < g->nodes.count; i++) {
        const reid_graph_node *node = &g->nodes.items[i];
        row r = {0};
        if (node->kind != REID_OP_CONV2D)
            continue;
        describe(g, backend, compute, node, r.key);
        if (find(&seen, r.key))
            continue;
        reid_vec_push(&seen.rows, r);
        reid_str_addf(&text, "%s\n", r.key);
    }
    reid_vec_fini(&seen.rows);
    reid_str_add(&text, "");
    return reid_str_take(&text);
}

static reid_status measure(reid_backend *backend, const reid_graph_node *node, reid_op_desc *desc,
                           row *r, reid_error *err)
{
    for (int k = 0; k < node->param_count; k++)
        REID_TRY(backend->impl->param_layout(backend, desc, k, &node->param[k].shape,
                                             &desc->param[k], err));
    REID_TRY(backend->impl->tune(backend, desc, r->algorithm, err));
    return REID_OK;
}

reid_status reid_tuning_measure(reid_tuning *tuning, const reid_graph *g, reid_backend *backend,
                                reid_dtype compute, int *ret_measured, int *ret_winograd,
                                reid_error *err)
{
    int measured = 0, winograd = 0;
    if (backend->impl->begin)
        backend->impl->begin(backend);
    for (size_t i = 0; i < g->nodes.count; i++) {
        const reid_graph_node *node = &g->nodes.items[i];
        row r = {0};
        if (node->kind != REID_OP_CONV2D)
            continue;
        reid_op_desc desc = describe(g, backend, compute, node, r.key);
        if (find(tuning, r.key))
            continue;
        if (backend->impl->tune)
            REID_TRY(measure(backend, node, &desc, &r, err));
        for (int pass = 0; pass < REID_OP_PASSES; pass++) {
            measured += r.algorithm[pass] != REID_ALGORITHM_RULE;
            winograd += r.algorithm[pass] == REID_ALGORITHM_WINOGRAD;
        }
        reid_vec_push(&tuning->rows, r);
    }
    *ret_measured = measured;
    *ret_winograd = winograd;
    return REID_OK;
}

/* ---- text ---- */

char *reid_tuning_text(const reid_tuning *tuning)
{
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, "");
    for (size_t i = 0; i < tuning->rows.count; i++) {
        const row *r = &tuning->rows.items[i];
        reid_str_add(&text, r->key);
        for (int pass = 0; pass < REID_OP_PASSES; pass++)
            reid_str_addf(&text, " %s", words[r->algorithm[pass]]);
        reid_str_add_char(&text, '\n');
    }
    return reid_str_take(&text);
}

/* Cuts the last word off. */
static bool take_word(char *line, reid_algorithm *ret_algorithm)
{
    char *space = strrchr(line, ' ');
    if (!space)
        return false;
    for (reid_algorithm a = 0; a < REID_ALGORITHMS; a++)
        if (strcmp(space + 1, words[a]) == 0) {
            *space = '\0';
            *ret_algorithm = a;
            return true;
        }
    return false;
}

static bool parse_row(const char *line, size_t length, row *ret_row)
{
    char text[KEY_SIZE + 32];
    if (length >= sizeof text)
        return false;
    memcpy(text, line, length);
    text[length] = '\0';
    for (int pass = REID_OP_PASSES - 1; pass >= 0; pass--)
        if (!take_word(text, &ret_row->algorithm[pass]))
            return false;
    if (text[0] != 'n' || strlen(text) >= KEY_SIZE)
        return false;
    memcpy(ret_row->key, text, strlen(text) + 1);
    return true;
}

reid_status reid_tuning_read(reid_tuning *tuning, const char *text, reid_error *err)
{
    size_t before = tuning->rows.count, number = 1;
    for (const char *line = text; *line; number++) {
        size_t length = strcspn(line, "\n");
        row r = {0};
        if (!parse_row(line, length, &r)) {
            tuning->rows.count = before;
            return reid_fail(err, REID_ERR_INVALID,
                             "line %zu of the algorithms of the convolutions is none: '%.*s'",
                             number, (int)(length < 60 ? length : 60), line);
        }
        if (!find(tuning, r.key))
            reid_vec_push(&tuning->rows, r);
        line += length + (line[length] == '\n');
    }
    return REID_OK;
}
