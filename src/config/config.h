/* The configuration of a job: fast-reid's keys, files and overrides, with fast-reid's defaults.
 *
 * Life: reid_config_new (all defaults) → reid_config_load_file → reid_config_merge_list (KEY VALUE
 * …) → reid_config_check → reading with reid_config_int and its like → reid_config_free. A call
 * that fails leaves the configuration as it was.
 *
 * Every key is one row of the table in keys.c: name, type, default, what is supported, a sentence
 * of help. The types are bool, int, float, string, and lists of int, float and string; a tuple is a
 * list.
 *
 * Files are YAML. `_BASE_: other.yml` (relative to the file, `~/…` or absolute) names a file that
 * is read first; the child's keys win. As in fast-reid, a text value is read once more as a Python
 * literal, so that `("Market1501",)`,
 * `(8,)`, `True`, `None` and `3e-4` mean what they mean there. Types follow yacs, and an int is
 * welcome where a float is wanted. None and null stand for "" where a string is wanted, and for
 * nothing else.
 *
 * Errors name the place ("bot.yml:12"), the key and, for an unknown key, the nearest known one.
 * Loading and setting check names and types; reid_config_check refuses what is known but not
 * supported yet, values out of range, and values that contradict each other. Nothing is ignored.
 *
 * Threads: a configuration that nobody changes may be read by any number of threads.
 * Source of keys and defaults: fast-reid's fastreid/config/defaults.py.
 */
#ifndef REID_CONFIG_CONFIG_H
#define REID_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_config reid_config;

reid_config *reid_config_new(void);
reid_config *reid_config_clone(const reid_config *config);
void reid_config_free(reid_config *config);

/* --- Filling --- */

/* NOT_FOUND, PERMISSION, … when a file cannot be read; INVALID for anything wrong inside one;
 * UNSUPPORTED for a base on the web; EXHAUSTED for a file over 1 MiB. */
reid_status reid_config_load_file(reid_config *config, const char *path, reid_error *err);

/* The same from memory; `name` stands for the file in messages. `_BASE_` is refused here: a text
 * has no folder. */
reid_status reid_config_load_text(reid_config *config, const char *yaml, const char *name,
                                  reid_error *err);

/* Overrides from a command line: `KEY VALUE` pairs, where `KEY=VALUE` may stand for a pair. */
reid_status reid_config_merge_list(reid_config *config, int count, char *const *key_value,
                                   reid_error *err);

/* One key; `value_text` is decoded like an override. */
reid_status reid_config_set(reid_config *config, const char *key, const char *value_text,
                            reid_error *err);

/* --- Checking --- */

/* UNSUPPORTED for a value that fast-reid knows and this program does not support yet, INVALID for
 * the rest. */
reid_status reid_config_check(const reid_config *config, reid_error *err);

/* What depends on the number of ranks: the shares of the training batch. Call it after
 * reid_config_check. */
reid_status reid_config_check_world(const reid_config *config, int world, reid_error *err);

/* Accepted settings that have no effect here (such as CUDNN_BENCHMARK), one sentence a line, ""
 * when there are none. For the log of a job. Caller frees. */
char *reid_config_remarks(const reid_config *config);

/* --- Reading --- */

/* An unknown key, another type or an index out of range is a programmer's error. reid_config_float
 * also reads ints. */
bool reid_config_bool(const reid_config *config, const char *key);
int64_t reid_config_int(const reid_config *config, const char *key);
double reid_config_float(const reid_config *config, const char *key);
const char *reid_config_string(const reid_config *config,
                               const char *key);                      /* until the key changes */
size_t reid_config_count(const reid_config *config, const char *key); /* length of a list */
int64_t reid_config_int_at(const reid_config *config, const char *key, size_t i);
double reid_config_float_at(const reid_config *config, const char *key, size_t i);
const char *reid_config_string_at(const reid_config *config, const char *key, size_t i);

/* Where the value comes from: "default", "bot.yml:12", "the command line". */
const char *reid_config_origin(const reid_config *config, const char *key);
/* The value as text that reid_config_set reads back to the same. Caller frees. */
char *reid_config_text(const reid_config *config, const char *key);

/* YAML with all keys, sorted as in the config.yaml that fast-reid writes; loads back to the same
 * values. Caller frees. */
char *reid_config_dump(const reid_config *config);
/* Of all values; the order and the place in which they were set do not matter. */
uint64_t reid_config_hash(const reid_config *config);

/* --- The table, for help, completion and documents --- */

typedef enum reid_config_type {
    REID_CONFIG_BOOL,
    REID_CONFIG_INT,
    REID_CONFIG_FLOAT,
    REID_CONFIG_STRING,
    REID_CONFIG_INT_LIST,
    REID_CONFIG_FLOAT_LIST,
    REID_CONFIG_STRING_LIST,
} reid_config_type;

size_t reid_config_key_count(void);
/* Index of a key, -1 when it is unknown. */
int reid_config_key_find(const char *key);
/* The known key nearest to `key`, NULL when none is near. */
const char *reid_config_key_nearest(const char *key);
const char *reid_config_key_name(size_t i);
const char *reid_config_key_help(size_t i);
reid_config_type reid_config_key_type(size_t i);
const char *reid_config_key_type_name(size_t i); /* "int", "list of string" */
const char *reid_config_key_default(size_t i);   /* as text that reid_config_set reads */
/* What is supported, in words ("Adam or SGD", "from 0 to 1"), "" when every value is. Caller frees.
 */
char *reid_config_key_supported(size_t i);

#endif
