#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/private.h"

/* --- Sentences --- */

/* "bot.yml:12: " before the sentence of a value that was given; nothing before that of a default.
 */
static const char *prefix_of(const reid_config *config, const char *key, char buffer[256])
{
    const char *origin = reid_config_value(config, key)->origin;
    snprintf(buffer, 256, "%s%s", origin ? origin : "", origin ? ": " : "");
    return buffer;
}

/* The value for a message. The caller frees. */
static char *shown_value(const reid_value *value)
{
    reid_str literal = REID_STR_INIT;
    char shown[120];
    reid_value_add_literal(value, &literal);
    reid_value_show(reid_str_text(&literal), shown, sizeof shown);
    reid_str_fini(&literal);
    return reid_xstrdup(shown);
}

static reid_status fail_unsupported(const reid_config *config, const reid_config_row *row,
                                    reid_error *err)
{
    char prefix[256];
    char *shown = shown_value(reid_config_value(config, row->name));
    reid_status status =
        reid_fail(err, REID_ERR_UNSUPPORTED, "%s%s %s is known but not supported yet; %s%s",
                  prefix_of(config, row->name, prefix), row->name, shown,
                  row->instead ? row->instead : "leave it at ",
                  row->instead     ? ""
                  : *row->fallback ? row->fallback
                                   : "''");
    free(shown);
    return status;
}

/* --- Choices --- */

enum choice { CHOICE_UNKNOWN, CHOICE_KNOWN, CHOICE_SUPPORTED };

/* Takes the next word of a row's choices; NULL at the end. The bar comes as a word of its own. */
static const char *next_choice(const char *at, size_t *ret_length)
{
    at += strspn(at, " ");
    *ret_length = strcspn(at, " ");
    return *ret_length > 0 ? at : NULL;
}

static enum choice find_choice(const char *choices, const char *text)
{
    enum choice now = CHOICE_SUPPORTED;
    size_t length;
    for (const char *word = next_choice(choices, &length); word;
         word = next_choice(word + length, &length)) {
        if (*word == '|')
            now = CHOICE_KNOWN;
        else if (strlen(text) == length && memcmp(word, text, length) == 0)
            return now;
    }
    return CHOICE_UNKNOWN;
}

/* "Adam or SGD" */
static void add_supported(const char *choices, reid_str *out)
{
    size_t length, next_length;
    const char *word = next_choice(choices, &length);
    for (bool first = true; word && *word != '|'; first = false) {
        const char *next = next_choice(word + length, &next_length);
        bool last = !next || *next == '|';
        reid_str_add(out, first ? "" : last ? " or " : ", ");
        reid_str_add_bytes(out, word, length);
        word = next;
        length = next_length;
    }
}

static void add_nearest(const char *choices, const char *text, reid_str *out)
{
    char buffer[64], best_word[64] = "";
    size_t length, best = 3;
    for (const char *word = next_choice(choices, &length); word;
         word = next_choice(word + length, &length)) {
        snprintf(buffer, sizeof buffer, "%.*s", (int)length, word);
        size_t distance = reid_str_distance(buffer, text);
        if (*word == '|' || distance >= best || distance >= length)
            continue;
        best = distance;
        snprintf(best_word, sizeof best_word, "%s", buffer);
    }
    if (*best_word)
        reid_str_addf(out, "; did you mean '%s'?", best_word);
}

static reid_status check_choice(const reid_config *config, const reid_config_row *row,
                                const char *text, reid_error *err)
{
    char prefix[256], shown[100];
    enum choice choice = find_choice(row->choices, text);
    if (choice == CHOICE_SUPPORTED)
        return REID_OK;
    reid_str sentence = REID_STR_INIT;
    reid_str_addf(&sentence, "%s%s '%s' ", prefix_of(config, row->name, prefix), row->name,
                  reid_value_show(text, shown, sizeof shown));
    reid_str_add(&sentence, choice == CHOICE_KNOWN ? "is known but not supported yet; supported: "
                                                   : "is unknown; supported: ");
    add_supported(row->choices, &sentence);
    if (choice == CHOICE_UNKNOWN)
        add_nearest(row->choices, text, &sentence);
    reid_status status = reid_fail(
        err, choice == CHOICE_KNOWN ? REID_ERR_UNSUPPORTED : REID_ERR_INVALID, "%s", sentence.data);
    reid_str_fini(&sentence);
    return status;
}

/* --- Rows --- */

static void add_number(double number, reid_str *out)
{
    char buffer[32];
    reid_str_add(out, reid_format_double(buffer, number));
}

/* "from 0 to 1", "at least 1", "above 0" */
static void add_bounds(const reid_config_row *row, reid_str *out)
{
    if (row->above || isinf(row->max)) {
        reid_str_add(out, row->above ? "above " : "at least ");
        add_number(row->min, out);
        return;
    }
    reid_str_add(out, "from ");
    add_number(row->min, out);
    reid_str_add(out, " to ");
    add_number(row->max, out);
}

static reid_status check_number(const reid_config *config, const reid_config_row *row,
                                double number, reid_error *err)
{
    if (!row->bounded ||
        (number <= row->max && (row->above ? number > row->min : number >= row->min)))
        return REID_OK;
    char prefix[256];
    reid_str sentence = REID_STR_INIT;
    reid_str_addf(&sentence, "%s%s is ", prefix_of(config, row->name, prefix), row->name);
    add_number(number, &sentence);
    reid_str_add(&sentence, "; it must be ");
    add_bounds(row, &sentence);
    reid_status status = reid_fail(err, REID_ERR_INVALID, "%s", sentence.data);
    reid_str_fini(&sentence);
    return status;
}

static reid_status check_count(const reid_config *config, const reid_config_row *row, size_t count,
                               reid_error *err)
{
    if (row->max_count == 0 || (count >= row->min_count && count <= row->max_count))
        return REID_OK;
    char prefix[256], wanted[48];
    if (row->min_count == row->max_count)
        snprintf(wanted, sizeof wanted, "%zu", row->min_count);
    else
        snprintf(wanted, sizeof wanted, "%zu to %zu", row->min_count, row->max_count);
    return reid_fail(err, REID_ERR_INVALID, "%s%s has %zu element%s; it must have %s",
                     prefix_of(config, row->name, prefix), row->name, count, count == 1 ? "" : "s",
                     wanted);
}

static bool is_default(size_t row_index, const reid_value *value)
{
    const reid_config_row *row = reid_config_row_at(row_index);
    reid_literal literal;
    reid_value fallback;
    reid_literal_parse(row->fallback, &literal);
    reid_status status = reid_value_decode(row, &literal, NULL, &fallback, NULL);
    REID_ASSERT(status == REID_OK);
    bool same = reid_value_equal(value, &fallback);
    reid_literal_fini(&literal);
    reid_value_fini(&fallback);
    return same;
}

static reid_status check_row(const reid_config *config, size_t row_index, reid_error *err)
{
    const reid_config_row *row = reid_config_row_at(row_index);
    const reid_value *value = &config->values[row_index];
    if (row->only_default && !is_default(row_index, value))
        return fail_unsupported(config, row, err);
    if (reid_value_is_list(row->type))
        REID_TRY(check_count(config, row, value->count, err));
    for (size_t i = 0; i < value->count; i++) {
        switch (reid_value_element_type(row->type)) {
        case REID_CONFIG_INT:
            REID_TRY(check_number(config, row, (double)value->ints[i], err));
            break;
        case REID_CONFIG_FLOAT:
            REID_TRY(check_number(config, row, value->floats[i], err));
            break;
        case REID_CONFIG_STRING:
            if (row->choices)
                REID_TRY(check_choice(config, row, value->strings[i], err));
            break;
        default:
            break;
        }
    }
    return REID_OK;
}

/* --- Relations between keys --- */

static bool is(const reid_config *config, const char *key, const char *text)
{
    return strcmp(reid_config_string(config, key), text) == 0;
}

static bool uses_identity_sampler(const reid_config *config)
{
    return !is(config, "DATALOADER.SAMPLER_TRAIN", "TrainingSampler");
}

static reid_status check_model(const reid_config *config, reid_error *err)
{
    char prefix[256];
    const char *depth = reid_config_string(config, "MODEL.BACKBONE.DEPTH");
    bool small = strcmp(depth, "18x") == 0 || strcmp(depth, "34x") == 0;
    int64_t features = (small ? 8 : 32) * reid_config_int(config, "MODEL.BACKBONE.WIDTH");
    int64_t given = reid_config_int(config, "MODEL.BACKBONE.FEAT_DIM");
    if (given != features)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sMODEL.BACKBONE.FEAT_DIM is %lld, but a backbone of depth %s has %lld "
                         "features; set it to "
                         "%lld",
                         prefix_of(config, "MODEL.BACKBONE.FEAT_DIM", prefix), (long long)given,
                         depth, (long long)features, (long long)features);
    double epsilon = reid_config_float(config, "MODEL.LOSSES.CE.EPSILON");
    if (epsilon < 0 && epsilon != -1)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sMODEL.LOSSES.CE.EPSILON is %g; it must be from 0 to 1, or -1",
                         prefix_of(config, "MODEL.LOSSES.CE.EPSILON", prefix), epsilon);
    return REID_OK;
}

static reid_status check_batch(const reid_config *config, reid_error *err)
{
    char prefix[256];
    int64_t batch = reid_config_int(config, "SOLVER.IMS_PER_BATCH");
    int64_t instances = reid_config_int(config, "DATALOADER.NUM_INSTANCE");
    if (uses_identity_sampler(config) && batch % instances != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sSOLVER.IMS_PER_BATCH is %lld, which is not a multiple of "
                         "DATALOADER.NUM_INSTANCE (%lld)",
                         prefix_of(config, "SOLVER.IMS_PER_BATCH", prefix), (long long)batch,
                         (long long)instances);
    return REID_OK;
}

static reid_status check_schedule(const reid_config *config, reid_error *err)
{
    char prefix[256];
    for (size_t i = 1; i < reid_config_count(config, "SOLVER.STEPS"); i++) {
        int64_t before = reid_config_int_at(config, "SOLVER.STEPS", i - 1);
        int64_t step = reid_config_int_at(config, "SOLVER.STEPS", i);
        if (step <= before)
            return reid_fail(
                err, REID_ERR_INVALID, "%sSOLVER.STEPS must ascend, but %lld follows %lld",
                prefix_of(config, "SOLVER.STEPS", prefix), (long long)step, (long long)before);
    }
    int64_t delay = reid_config_int(config, "SOLVER.DELAY_EPOCHS");
    int64_t epochs = reid_config_int(config, "SOLVER.MAX_EPOCH");
    if (is(config, "SOLVER.SCHED", "CosineAnnealingLR") && delay >= epochs)
        return reid_fail(
            err, REID_ERR_INVALID,
            "%sSOLVER.DELAY_EPOCHS is %lld, which leaves no epoch of SOLVER.MAX_EPOCH (%lld) to "
            "CosineAnnealingLR",
            prefix_of(config, "SOLVER.DELAY_EPOCHS", prefix), (long long)delay, (long long)epochs);
    return REID_OK;
}

static reid_status check_solver(const reid_config *config, reid_error *err)
{
    char prefix[256];
    if (is(config, "SOLVER.OPT", "SGD") && reid_config_bool(config, "SOLVER.NESTEROV") &&
        reid_config_float(config, "SOLVER.MOMENTUM") == 0)
        return reid_fail(err, REID_ERR_INVALID, "%sSOLVER.NESTEROV needs a SOLVER.MOMENTUM above 0",
                         prefix_of(config, "SOLVER.NESTEROV", prefix));
    if (reid_config_int(config, "SOLVER.FREEZE_ITERS") > 0 &&
        reid_config_count(config, "MODEL.FREEZE_LAYERS") > 0)
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "%sMODEL.FREEZE_LAYERS is known but not supported yet; set SOLVER.FREEZE_ITERS to 0",
            prefix_of(config, "MODEL.FREEZE_LAYERS", prefix));
    return REID_OK;
}

static reid_status check_run(const reid_config *config, reid_error *err)
{
    char prefix[256];
    if (*reid_config_string(config, "OUTPUT_DIR") == '\0')
        return reid_fail(err, REID_ERR_INVALID, "%sOUTPUT_DIR is empty; give a folder",
                         prefix_of(config, "OUTPUT_DIR", prefix));
    if (reid_config_int(config, "TEST.EVAL_PERIOD") > 0 &&
        reid_config_count(config, "DATASETS.TESTS") == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sDATASETS.TESTS is empty; name a data set, or set TEST.EVAL_PERIOD to 0",
                         prefix_of(config, "DATASETS.TESTS", prefix));
    return REID_OK;
}

/* The first unsupported value is told in full, the others by name, so that nobody meets them one by
 * one. */
static void add_other_unsupported(const reid_config *config, size_t first, reid_error *err)
{
    reid_str others = REID_STR_INIT;
    for (size_t i = first + 1; i < reid_config_key_count(); i++) {
        if (check_row(config, i, NULL) == REID_ERR_UNSUPPORTED)
            reid_str_addf(&others, "%s%s",
                          others.length > 0 ? ", " : "; nor supported: ", reid_config_key_name(i));
    }
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "%s", reid_str_text(&others));
    reid_str_fini(&others);
}

reid_status reid_config_check(const reid_config *config, reid_error *err)
{
    static reid_status (*const RELATIONS[])(const reid_config *, reid_error *) = {
        check_model, check_batch, check_schedule, check_solver, check_run};
    bool told = !err || err->code != REID_OK; /* an older error is kept as it is */
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        reid_status status = check_row(config, i, err);
        if (status == REID_ERR_UNSUPPORTED && !told)
            add_other_unsupported(config, i, err);
        REID_TRY(status);
    }
    for (size_t i = 0; i < sizeof RELATIONS / sizeof *RELATIONS; i++)
        REID_TRY(RELATIONS[i](config, err));
    return REID_OK;
}

reid_status reid_config_check_world(const reid_config *config, int world, reid_error *err)
{
    char prefix[256];
    REID_ASSERT(world > 0);
    int64_t batch = reid_config_int(config, "SOLVER.IMS_PER_BATCH");
    int64_t instances = reid_config_int(config, "DATALOADER.NUM_INSTANCE");
    int64_t test_batch = reid_config_int(config, "TEST.IMS_PER_BATCH");
    int64_t share = batch / world;
    prefix_of(config, "SOLVER.IMS_PER_BATCH", prefix);
    if (batch % world != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sSOLVER.IMS_PER_BATCH is %lld, which is not a multiple of %d ranks",
                         prefix, (long long)batch, world);
    if (share < 2)
        return reid_fail(
            err, REID_ERR_INVALID,
            "%sSOLVER.IMS_PER_BATCH is %lld, which leaves one image to each of %d ranks; batch "
            "normalisation needs two",
            prefix, (long long)batch, world);
    if (uses_identity_sampler(config) && share % instances != 0)
        return reid_fail(
            err, REID_ERR_INVALID,
            "%sSOLVER.IMS_PER_BATCH is %lld, so each of %d ranks has %lld images, which is not a "
            "multiple of DATALOADER.NUM_INSTANCE (%lld)",
            prefix, (long long)batch, world, (long long)share, (long long)instances);
    if (test_batch < world)
        return reid_fail(err, REID_ERR_INVALID,
                         "%sTEST.IMS_PER_BATCH is %lld, less than one image for each of %d ranks",
                         prefix_of(config, "TEST.IMS_PER_BATCH", prefix), (long long)test_batch,
                         world);
    return REID_OK;
}

/* --- Remarks --- */

/* INPUT.CJ.PROB depends on INPUT.CJ.ENABLED. Returns that key's index, or -1. */
static int switch_of(const char *key)
{
    char name[128];
    const char *dot = strrchr(key, '.');
    if (!dot || strcmp(dot, ".ENABLED") == 0)
        return -1;
    snprintf(name, sizeof name, "%.*s.ENABLED", (int)(dot - key), key);
    return reid_config_key_find(name);
}

/* A dump names every key, so a key in it need not have been given by anybody. */
static bool is_dump(const reid_config *config)
{
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        if (!config->values[i].origin)
            return false;
    }
    return true;
}

/* What only some backends heed. */
static void add_device_remarks(const reid_config *config, reid_str *out)
{
    const char *backend = reid_config_string(config, "MODEL.BACKEND");
    const char *device = reid_config_string(config, "MODEL.DEVICE");
    bool on_cuda = is(config, "MODEL.BACKEND", "cuda");
    bool device_given = reid_config_value(config, "MODEL.DEVICE")->origin && !is_dump(config);
    if (device_given && (strcmp(device, "cuda") == 0) != on_cuda)
        reid_str_addf(out, "MODEL.DEVICE '%s' has no effect: MODEL.BACKEND '%s' computes\n", device,
                      backend);
    if (reid_config_bool(config, "MODEL.CUDA.TF32") && !on_cuda)
        reid_str_addf(out, "MODEL.CUDA.TF32 True has no effect: MODEL.BACKEND '%s' computes\n",
                      backend);
    if (!reid_config_bool(config, "MODEL.CUDA.GRAPHS") && !on_cuda)
        reid_str_addf(out, "MODEL.CUDA.GRAPHS False has no effect: MODEL.BACKEND '%s' computes\n",
                      backend);
    if (is(config, "MODEL.CONVOLUTION", "rule") && on_cuda)
        reid_str_add(out,
                     "MODEL.CONVOLUTION 'rule' is the same as 'auto' on GPUs: cuDNN's order of "
                     "engines decides\n");
    if (reid_config_bool(config, "CUDNN_BENCHMARK"))
        reid_str_add(out, on_cuda ? "CUDNN_BENCHMARK True has no effect: the first deterministic "
                                    "engine in cuDNN's order is taken\n"
                                  : "CUDNN_BENCHMARK True has no effect on a CPU\n");
}

char *reid_config_remarks(const reid_config *config)
{
    reid_str out = REID_STR_INIT;
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        const reid_config_row *row = reid_config_row_at(i);
        int gate = switch_of(row->name);
        if (gate < 0 || config->values[gate].ints[0] != 0 || is_default(i, &config->values[i]))
            continue;
        char *shown = shown_value(&config->values[i]);
        reid_str_addf(&out, "%s %s has no effect while %s is False\n", row->name, shown,
                      reid_config_key_name((size_t)gate));
        free(shown);
    }
    add_device_remarks(config, &out);
    if (reid_config_count(config, "MODEL.FREEZE_LAYERS") > 0 &&
        reid_config_int(config, "SOLVER.FREEZE_ITERS") == 0)
        reid_str_add(&out, "MODEL.FREEZE_LAYERS has no effect while SOLVER.FREEZE_ITERS is 0\n");
    return reid_str_take(&out);
}

char *reid_config_key_supported(size_t i)
{
    const reid_config_row *row = reid_config_row_at(i);
    reid_str out = REID_STR_INIT;
    if (row->only_default)
        reid_str_addf(&out, "only %s", *row->fallback ? row->fallback : "''");
    else if (row->choices)
        add_supported(row->choices, &out);
    else if (row->bounded)
        add_bounds(row, &out);
    return reid_str_take(&out);
}
