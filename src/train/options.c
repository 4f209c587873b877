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
    "  --check-only         say whether the job can run, and end; with --world N for N ranks\n"
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

reid_status reid_train_options_parse(int argc, char *const *argv, reid_train_options *ret_options,
                                     reid_error *err)
{
    reid_train_options options = {.world = 1};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *value;
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
            if (reid_parse_int64(value, &world) != REID_OK || world < 1 || world > 65536)
                return reid_fail(err, REID_ERR_INVALID,
                                 "--world needs a number of ranks from 1 to 65536, not '%s'",
                                 value);
            options.world = (int)world;
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
    *ret_options = options;
    return REID_OK;
}
