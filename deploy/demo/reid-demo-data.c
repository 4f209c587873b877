/* reid-demo-data: see usage() and README.md. Usually called by prepare.sh. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "make.h"

static void usage(FILE *to)
{
    fputs(
        "usage: reid-demo-data --font FILE --emojione DIR --emojify DIR --out DIR [options]\n"
        "Makes a small re-identification data set in Market-1501's layout from emoji of several "
        "makers.\n"
        "  --identities N   how many (0, the default: all)\n"
        "  --images N       images of an identity by a camera (default 4)\n"
        "  --seed N         of all choices (default 1)\n"
        "  --origin TEXT    noted in the manifest\n"
        "  --sheet FILE     also a PNG that shows some images\n"
        "  --complete       only tell by the exit status whether DIR holds this data set already\n",
        to);
}

static bool parse_number(const char *text, int64_t low, int64_t high, int64_t *ret_value)
{
    return reid_parse_int64(text, ret_value) == REID_OK && *ret_value >= low && *ret_value <= high;
}

/* The options with a number; false when the text is none, or out of range. */
static bool set_number(demo_options *options, int letter, const char *text)
{
    int64_t number = 0;
    bool good = false;
    if (letter == 'n') {
        good = parse_number(text, 0, 100000, &number);
        options->identities = (int)number;
    } else if (letter == 'i') {
        good = parse_number(text, 3, 100, &number);
        options->images = (int)number;
    } else if (letter == 's') {
        good = parse_number(text, 0, INT64_MAX, &number);
        options->seed = (uint64_t)number;
    }
    return good;
}

/* "folder/" → "folder": a name is put behind it. */
static void strip_slashes(char *path)
{
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/';)
        path[--length] = '\0';
}

/* 0: go on; else the exit status + 1. */
static int parse_options(int argc, char **argv, demo_options *options, bool *ret_only_check)
{
    static const struct option names[] = {{"font", required_argument, NULL, 'f'},
                                          {"emojione", required_argument, NULL, 'e'},
                                          {"emojify", required_argument, NULL, 'j'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"identities", required_argument, NULL, 'n'},
                                          {"images", required_argument, NULL, 'i'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"origin", required_argument, NULL, 'g'},
                                          {"sheet", required_argument, NULL, 't'},
                                          {"complete", no_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int letter;
    bool good = true;
    while ((letter = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (letter) {
        case 'f':
            options->sources.font = optarg;
            break;
        case 'e':
            options->sources.emojione = optarg;
            break;
        case 'j':
            options->sources.emojify = optarg;
            break;
        case 'o':
            strip_slashes(optarg);
            options->out = optarg;
            break;
        case 'g':
            options->origin = optarg;
            break;
        case 't':
            options->sheet = optarg;
            break;
        case 'c':
            *ret_only_check = true;
            break;
        case 'h':
            usage(stdout);
            return 1;
        default:
            good = good && set_number(options, letter, optarg);
        }
    }
    good = good && optind == argc && options->out;
    good = good && (*ret_only_check || (options->sources.font && options->sources.emojione &&
                                        options->sources.emojify));
    if (!good)
        usage(stderr);
    return good ? 0 : 3;
}

int main(int argc, char **argv)
{
    demo_options options = {.images = 4, .seed = 1, .origin = ""};
    bool only_check = false;
    int end = parse_options(argc, argv, &options, &only_check);
    if (end)
        return end - 1;
    if (only_check)
        return demo_is_complete(&options) ? 0 : 1;
    reid_error err = {0};
    if (demo_make(&options, &err) == REID_OK)
        return 0;
    fprintf(stderr, "reid-demo-data: %s\n", err.text);
    return 1;
}
