#include "train/options.h"

#include <string.h>

#include "base/str.h"

const char reid_train_usage[] =
    "usage: reid-train --config-file FILE [--resume] [--eval-only] [KEY VALUE ...]\n"
    "\n"
    "Trains one rank. For several ranks: mpirun -np N reid-train --config-file FILE ...\n"
    "\n"
    "  --config-file FILE   a fast-reid configuration (YAML, _BASE_ is followed)\n"
    "  --resume             go on from the last checkpoint in OUTPUT_DIR\n"
    "  --eval-only          evaluate MODEL.WEIGHTS (or, with --resume, the last checkpoint) and "
    "end\n"
    "  --fork-from DIR      begin with the state of the run in DIR, which is left as it is, in "
    "another\n"
    "                       OUTPUT_DIR; its config.yaml is the configuration unless "
    "--config-file is\n"
    "                       given. With --resume: go on with the fork if it has begun\n"
    "  --fork-iter N        before iteration N, with the control words of the run up to there; "
    "where\n"
    "                       there is no checkpoint of N, the run is followed from the one before. "
    "-1,\n"
    "                       the default: the newest checkpoint\n"
    "  --check-only         say whether the job can run, and end; with --world N for N ranks\n"
    "  --plan-only DEVICE   plan the network for a device that need not be there, print memory, "
    "chosen\n"
    "                       engines, operations and bounds of time, and end. sm_80, sm_90, sm_100 "
    "or\n"
    "                       sm_120: a GPU of that compute capability; cuda, cpu, ref: of this "
    "machine\n"
    "    --world N          share SOLVER.IMS_PER_BATCH among N ranks\n"
    "    --nodes M          that are on M nodes, with --link-gbit G Gbit/s of network each "
    "(400)\n"
    "    --memory SIZE      such as 80GiB: the largest batch that fits\n"
    "    --gpu NAME         the GPU whose data sheet bounds the time\n"
    "    --json             for programs\n"
    "  --version, --help\n"
    "  KEY VALUE            overrides, such as SOLVER.MAX_EPOCH 60 DATASETS.ROOT /data\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong use or configuration, 130 and 143 stopped by SIGINT or "
    "SIGTERM.\n";

/* Options of fast-reid's launcher whose task is mpirun's here. */
static const char *const launcher_options[] = {"--num-gpus", "--num-machines", "--machine-rank",
                                               "--dist-url"};

static reid_status refuse(const char *word, reid_error *err)
{
    for (size_t i = 0; i < sizeof launcher_options / sizeof launcher_options[0]; i++)
        if (strcmp(word, launcher_options[i]) == 0)
            return reid_fail(
                err, REID_ERR_INVALID,
                "%s: the number of ranks is mpirun's to say; use `mpirun -np N reid-train "
                "...` or `reidctl submit -n N`",
                word);
    return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'; see reid-train --help", word);
}

/* The value of an option that needs one: "--x v" or "--x=v". */
static const char *option_value(int argc, char *const *argv, int *index, const char *name)
{
    const char *word = argv[*index];
    size_t length = strlen(name);
    if (strncmp(word, name, length) != 0)
        return NULL;
    if (word[length] == '=')
        return word + length + 1;
    if (word[length] != '\0')
        return NULL;
    if (*index + 1 >= argc)
        return "";
    return argv[++*index];
}

static reid_status parse_number(const char *option, const char *what, const char *text,
                                int64_t least, int64_t most, int64_t *ret_value, reid_error *err)
{
    int64_t value = 0;
    if (reid_parse_int64(text, &value) != REID_OK || value < least || value > most)
        return reid_fail(err, REID_ERR_INVALID, "%s needs %s from %lld to %lld, not '%s'", option,
                         what, (long long)least, (long long)most, text);
    *ret_value = value;
    return REID_OK;
}

/* "80GiB", "80G" (the same), "80GB" (decimal), "500MiB". */
static reid_status parse_bytes(const char *option, const char *text, int64_t *ret_bytes,
                               reid_error *err)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"GiB", 0x1p30}, {"G", 0x1p30}, {"GB", 1e9},    {"MiB", 0x1p20},
                 {"M", 0x1p20},   {"MB", 1e6},   {"TiB", 0x1p40}};
    size_t digits = strspn(text, "0123456789.");
    char number[32] = {0};
    double value = 0;
    if (digits > 0 && digits < sizeof number)
        memcpy(number, text, digits);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(text + digits, units[i].unit) == 0 &&
            reid_parse_double(number, &value) == REID_OK && value > 0 &&
            value * units[i].bytes < 0x1p62) {
            *ret_bytes = (int64_t)(value * units[i].bytes);
            return REID_OK;
        }
    return reid_fail(err, REID_ERR_INVALID,
                     "%s needs a size with its unit, such as 80GiB, 40GB or 500MiB, not '%s'",
                     option, text);
}

/* Those of --plan-only. *ret_known: the word at *index was one. */
static reid_status parse_plan_option(int argc, char *const *argv, int *index,
                                     reid_train_options *options, bool *ret_known, reid_error *err)
{
    const char *value;
    int64_t number = 0;
    *ret_known = true;
    if (strcmp(argv[*index], "--json") == 0) {
        options->json = true;
    } else if ((value = option_value(argc, argv, index, "--plan-only")) != NULL) {
        if (*value == '\0')
            return reid_fail(err, REID_ERR_INVALID,
                             "--plan-only needs a device: sm_80, sm_90, sm_100, sm_120, cuda, cpu "
                             "or ref");
        options->plan_device = value;
    } else if ((value = option_value(argc, argv, index, "--gpu")) != NULL) {
        options->plan_gpu = value;
    } else if ((value = option_value(argc, argv, index, "--memory")) != NULL) {
        REID_TRY(parse_bytes("--memory", value, &options->plan_memory_bytes, err));
    } else if ((value = option_value(argc, argv, index, "--nodes")) != NULL) {
        REID_TRY(parse_number("--nodes", "a number of nodes", value, 1, 65536, &number, err));
        options->plan_nodes = (int)number;
    } else if ((value = option_value(argc, argv, index, "--link-gbit")) != NULL) {
        if (reid_parse_double(value, &options->plan_link_gbit) != REID_OK ||
            !(options->plan_link_gbit > 0 && options->plan_link_gbit < 1e6))
            return reid_fail(err, REID_ERR_INVALID,
                             "--link-gbit needs a number of Gbit/s above 0, not '%s'", value);
    } else {
        *ret_known = false;
    }
    return REID_OK;
}

static reid_status check_plan_options(const reid_train_options *options, reid_error *err)
{
    if (options->plan_device == NULL) {
        const char *word = options->json                  ? "--json"
                           : options->plan_gpu            ? "--gpu"
                           : options->plan_memory_bytes   ? "--memory"
                           : options->plan_nodes          ? "--nodes"
                           : options->plan_link_gbit != 0 ? "--link-gbit"
                                                          : NULL;
        return word ? reid_fail(err, REID_ERR_INVALID, "%s needs --plan-only", word) : REID_OK;
    }
    if (options->check_only || options->resume || options->eval_only || options->fork_from)
        return reid_fail(err, REID_ERR_INVALID,
                         "--plan-only plans a training from its configuration; it does not go "
                         "together with --check-only, --resume, --eval-only or --fork-from");
    if (options->plan_nodes > 1 && options->world % options->plan_nodes != 0)
        return reid_fail(err, REID_ERR_INVALID, "--world %d cannot be shared by --nodes %d",
                         options->world, options->plan_nodes);
    return REID_OK;
}

static reid_status check_together(const reid_train_options *options, reid_error *err)
{
    REID_TRY(check_plan_options(options, err));
    if (options->fork_from == NULL && options->fork_iter >= 0)
        return reid_fail(err, REID_ERR_INVALID, "--fork-iter needs --fork-from");
    if (options->fork_from != NULL && options->eval_only)
        return reid_fail(err, REID_ERR_INVALID,
                         "--fork-from trains; to evaluate that run use MODEL.WEIGHTS");
    return REID_OK;
}

reid_status reid_train_options_parse(int argc, char *const *argv, reid_train_options *ret_options,
                                     reid_error *err)
{
    reid_train_options options = {.world = 1, .fork_iter = -1};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *value;
        bool known = false;
        REID_TRY(parse_plan_option(argc, argv, &i, &options, &known, err));
        if (known)
            continue;
        if (strcmp(argv[i], "--resume") == 0) {
            options.resume = true;
        } else if (strcmp(argv[i], "--eval-only") == 0) {
            options.eval_only = true;
        } else if (strcmp(argv[i], "--check-only") == 0) {
            options.check_only = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options.help = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            options.version = true;
        } else if ((value = option_value(argc, argv, &i, "--config-file")) != NULL) {
            if (*value == '\0')
                return reid_fail(err, REID_ERR_INVALID, "--config-file needs a file");
            options.config_file = value;
        } else if ((value = option_value(argc, argv, &i, "--world")) != NULL) {
            int64_t world = 0;
            REID_TRY(parse_number("--world", "a number of ranks", value, 1, 65536, &world, err));
            options.world = (int)world;
        } else if ((value = option_value(argc, argv, &i, "--fork-from")) != NULL) {
            if (*value == '\0')
                return reid_fail(err, REID_ERR_INVALID, "--fork-from needs a folder");
            options.fork_from = value;
        } else if ((value = option_value(argc, argv, &i, "--fork-iter")) != NULL) {
            REID_TRY(parse_number("--fork-iter", "an iteration", value, -1, INT64_MAX / 2,
                                  &options.fork_iter, err));
        } else {
            return refuse(argv[i], err);
        }
    }
    options.override_count = argc - i;
    options.overrides = argv + i;
    for (; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            return reid_fail(err, REID_ERR_INVALID,
                             "option '%s' stands after the first KEY VALUE; put options first",
                             argv[i]);
    REID_TRY(check_together(&options, err));
    *ret_options = options;
    return REID_OK;
}
