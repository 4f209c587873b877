#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "config/document.h"
#include "config/private.h"

#define MAX_BASES 16
#define BASE_KEY "_BASE_"

static const char COMMAND_LINE[] = "the command line";

/* --- Life --- */

reid_config *reid_config_new(void)
{
    reid_config *config = reid_xmalloc(sizeof *config);
    size_t count = reid_config_key_count();
    config->values = reid_xcalloc(count, sizeof *config->values);
    for (size_t i = 0; i < count; i++) {
        const reid_config_row *row = reid_config_row_at(i);
        reid_literal literal;
        reid_literal_parse(row->fallback, &literal);
        reid_status status = reid_value_decode(row, &literal, NULL, &config->values[i], NULL);
        reid_literal_fini(&literal);
        REID_ASSERT(status == REID_OK);
    }
    return config;
}

reid_config *reid_config_clone(const reid_config *config)
{
    reid_config *clone = reid_xmalloc(sizeof *clone);
    size_t count = reid_config_key_count();
    clone->values = reid_xcalloc(count, sizeof *clone->values);
    for (size_t i = 0; i < count; i++)
        reid_value_copy(&config->values[i], &clone->values[i]);
    return clone;
}

void reid_config_free(reid_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; config->values && i < reid_config_key_count(); i++)
        reid_value_fini(&config->values[i]);
    free(config->values);
    free(config);
}

/* A call works on a copy, so that a failure leaves the configuration as it was. */
static reid_status finish(reid_config *config, reid_config *own_copy, reid_status status)
{
    if (status == REID_OK) {
        reid_value *values = config->values;
        config->values = own_copy->values;
        own_copy->values = values;
    }
    reid_config_free(own_copy);
    return status;
}

/* --- Keys --- */

static reid_status fail_unknown(const char *origin, const char *key, reid_error *err)
{
    char shown[100];
    reid_value_show(key, shown, sizeof shown);
    if (reid_config_is_section(key))
        return reid_fail(err, REID_ERR_INVALID, "%s: %s is a section of keys, it takes no value",
                         origin, key);
    if (strcmp(key, BASE_KEY) == 0 || reid_str_ends(key, "." BASE_KEY))
        return reid_fail(err, REID_ERR_INVALID, "%s: " BASE_KEY " belongs at the top of a file",
                         origin);
    const char *nearest = reid_config_key_nearest(key);
    return reid_fail(err, REID_ERR_INVALID, "%s: unknown key '%s'%s%s%s", origin, shown,
                     nearest ? "; did you mean '" : "", nearest ? nearest : "",
                     nearest ? "'?" : "");
}

static reid_status set_value(reid_config *config, const char *key, const reid_literal *literal,
                             const char *origin, reid_error *err)
{
    int index = reid_config_key_find(key);
    if (index < 0)
        return fail_unknown(origin, key, err);
    reid_value value;
    REID_TRY(reid_value_decode(reid_config_row_at((size_t)index), literal, origin, &value, err));
    reid_value_fini(&config->values[index]);
    config->values[index] = value;
    return REID_OK;
}

static reid_status set_text(reid_config *config, const char *key, const char *text,
                            const char *origin, reid_error *err)
{
    reid_literal literal;
    reid_literal_parse(text, &literal);
    reid_status status = set_value(config, key, &literal, origin, err);
    reid_literal_fini(&literal);
    return status;
}

reid_status reid_config_set(reid_config *config, const char *key, const char *value_text,
                            reid_error *err)
{
    return set_text(config, key, value_text, COMMAND_LINE, err);
}

reid_status reid_config_merge_list(reid_config *config, int count, char *const *key_value,
                                   reid_error *err)
{
    reid_config *copy = reid_config_clone(config);
    reid_status status = REID_OK;
    for (int i = 0; status == REID_OK && i < count; i++) {
        const char *key = key_value[i];
        const char *equals = strchr(key, '=');
        if (equals) {
            char *name = reid_xstrndup(key, (size_t)(equals - key));
            status = set_text(copy, name, equals + 1, COMMAND_LINE, err);
            free(name);
        } else if (i + 1 < count) {
            status = set_text(copy, key, key_value[++i], COMMAND_LINE, err);
        } else {
            char shown[100];
            status = reid_fail(err, REID_ERR_INVALID, "%s: the last key '%s' has no value",
                               COMMAND_LINE, reid_value_show(key, shown, sizeof shown));
        }
    }
    return finish(config, copy, status);
}

/* --- Documents --- */

static reid_status check_section(const char *key, const char *origin, reid_error *err)
{
    char shown[100], buffer[64];
    if (reid_config_is_section(key))
        return REID_OK;
    int index = reid_config_key_find(key);
    if (index >= 0)
        return reid_fail(err, REID_ERR_INVALID, "%s: %s takes a value (%s), not a section of keys",
                         origin, key, reid_config_key_type_name((size_t)index));
    const char *nearest = reid_config_section_nearest(key, buffer, sizeof buffer);
    return reid_fail(err, REID_ERR_INVALID, "%s: unknown section '%s'%s%s%s", origin,
                     reid_value_show(key, shown, sizeof shown), nearest ? "; did you mean '" : "",
                     nearest ? nearest : "", nearest ? "'?" : "");
}

static reid_status apply_document(reid_config *config, const reid_document *document,
                                  const char *name, reid_error *err)
{
    reid_status status = REID_OK;
    for (size_t i = 0; status == REID_OK && i < document->count; i++) {
        const reid_document_entry *entry = &document->items[i];
        if (strcmp(entry->key, BASE_KEY) == 0 && !entry->section)
            continue;
        char *origin = reid_xasprintf("%s:%zu", name, entry->line);
        bool empty_section =
            entry->value.kind == REID_LITERAL_NONE && reid_config_is_section(entry->key);
        if (entry->section)
            status = check_section(entry->key, origin, err);
        else if (!empty_section)
            status = set_value(config, entry->key, &entry->value, origin, err);
        free(origin);
    }
    return status;
}

static const reid_document_entry *find_base(const reid_document *document)
{
    for (size_t i = 0; i < document->count; i++) {
        if (strcmp(document->items[i].key, BASE_KEY) == 0)
            return &document->items[i];
    }
    return NULL;
}

reid_status reid_config_load_text(reid_config *config, const char *yaml, const char *name,
                                  reid_error *err)
{
    reid_document document;
    REID_TRY(reid_document_parse(yaml, strlen(yaml), name, &document, err));
    reid_config *copy = reid_config_clone(config);
    const reid_document_entry *base = find_base(&document);
    reid_status status;
    if (base)
        status = reid_fail(err, REID_ERR_INVALID,
                           "%s:%zu: " BASE_KEY " is for files; this text has no folder to "
                           "look in",
                           name, base->line);
    else
        status = apply_document(copy, &document, name, err);
    reid_document_fini(&document);
    return finish(config, copy, status);
}

/* --- Files and their bases --- */

/* The files being read, each the base of its child; lives on the stack of load_chain. */
typedef struct chain {
    const struct chain *child;
    const char *path, *real_path;
    size_t base_line;
    int length;
} chain;

static reid_status load_chain(reid_config *config, const char *path, const chain *child,
                              reid_error *err);

static reid_status resolve_base(const reid_document_entry *base, const char *path, char **ret_path,
                                reid_error *err)
{
    const char *name = base->value.text;
    bool text = base->value.kind == REID_LITERAL_TEXT || base->value.kind == REID_LITERAL_STRING;
    if (base->section || !text || *name == '\0')
        return reid_fail(err, REID_ERR_INVALID, "%s:%zu: " BASE_KEY " takes the path of one file",
                         path, base->line);
    if (strstr(name, "://")) {
        char shown[200];
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "%s:%zu: " BASE_KEY " '%s' is on the web, which is not "
                         "supported; fetch the file and give its path",
                         path, base->line, reid_value_show(name, shown, sizeof shown));
    }
    if (name[0] == '~') {
        *ret_path = reid_path_absolute(name);
        return REID_OK;
    }
    char *folder = reid_path_dir(path);
    *ret_path = strcmp(folder, ".") == 0 ? reid_xstrdup(name) : reid_path_join(folder, name);
    free(folder);
    return REID_OK;
}

static reid_status load_base(reid_config *config, const reid_document_entry *base, const char *path,
                             const chain *self, reid_error *err)
{
    char *base_path = NULL;
    REID_TRY(resolve_base(base, path, &base_path, err));
    char *real = realpath(base_path, NULL);
    reid_status status = REID_OK;
    for (const chain *c = self; real && c && status == REID_OK; c = c->child) {
        if (strcmp(c->real_path, real) == 0)
            status =
                reid_fail(err, REID_ERR_INVALID, "%s:%zu: " BASE_KEY " '%s' leads back to itself",
                          path, base->line, base_path);
    }
    if (status == REID_OK && self->length == MAX_BASES)
        status = reid_fail(err, REID_ERR_INVALID,
                           "%s:%zu: more than %d files, each the " BASE_KEY " of another", path,
                           base->line, MAX_BASES);
    free(real);
    if (status == REID_OK)
        status = load_chain(config, base_path, self, err);
    free(base_path);
    return status;
}

static reid_status load_chain(reid_config *config, const char *path, const chain *child,
                              reid_error *err)
{
    char *text;
    size_t size;
    reid_status status = reid_file_read(path, REID_DOCUMENT_MAX_BYTES, &text, &size, err);
    if (status != REID_OK && child)
        reid_error_prefix(err, "%s:%zu: " BASE_KEY, child->path, child->base_line);
    REID_TRY(status);
    reid_document document = {0};
    status = reid_document_parse(text, size, path, &document, err);
    free(text);
    const reid_document_entry *base = find_base(&document);
    if (status == REID_OK && base) {
        char *real = realpath(path, NULL);
        const chain self = {.child = child,
                            .path = path,
                            .real_path = real ? real : path,
                            .base_line = base->line,
                            .length = child ? child->length + 1 : 1};
        status = load_base(config, base, path, &self, err);
        free(real);
    }
    if (status == REID_OK)
        status = apply_document(config, &document, path, err);
    reid_document_fini(&document);
    return status;
}

reid_status reid_config_load_file(reid_config *config, const char *path, reid_error *err)
{
    reid_config *copy = reid_config_clone(config);
    return finish(config, copy, load_chain(copy, path, NULL, err));
}

/* --- Reading --- */

const reid_value *reid_config_value(const reid_config *config, const char *key)
{
    int index = reid_config_key_find(key);
    REID_ASSERT(index >= 0);
    return &config->values[index];
}

/* The value when it has that element type, is a list or not as wanted, and has element `i`. */
static const reid_value *typed_value(const reid_config *config, const char *key,
                                     reid_config_type type, size_t i)
{
    const reid_value *value = reid_config_value(config, key);
    REID_ASSERT(value->type == type);
    REID_ASSERT(i < value->count);
    return value;
}

bool reid_config_bool(const reid_config *config, const char *key)
{
    return typed_value(config, key, REID_CONFIG_BOOL, 0)->ints[0] != 0;
}

int64_t reid_config_int(const reid_config *config, const char *key)
{
    return typed_value(config, key, REID_CONFIG_INT, 0)->ints[0];
}

double reid_config_float(const reid_config *config, const char *key)
{
    if (reid_config_value(config, key)->type == REID_CONFIG_INT)
        return (double)reid_config_int(config, key);
    return typed_value(config, key, REID_CONFIG_FLOAT, 0)->floats[0];
}

const char *reid_config_string(const reid_config *config, const char *key)
{
    return typed_value(config, key, REID_CONFIG_STRING, 0)->strings[0];
}

size_t reid_config_count(const reid_config *config, const char *key)
{
    const reid_value *value = reid_config_value(config, key);
    REID_ASSERT(reid_value_is_list(value->type));
    return value->count;
}

int64_t reid_config_int_at(const reid_config *config, const char *key, size_t i)
{
    return typed_value(config, key, REID_CONFIG_INT_LIST, i)->ints[i];
}

double reid_config_float_at(const reid_config *config, const char *key, size_t i)
{
    if (reid_config_value(config, key)->type == REID_CONFIG_INT_LIST)
        return (double)reid_config_int_at(config, key, i);
    return typed_value(config, key, REID_CONFIG_FLOAT_LIST, i)->floats[i];
}

const char *reid_config_string_at(const reid_config *config, const char *key, size_t i)
{
    return typed_value(config, key, REID_CONFIG_STRING_LIST, i)->strings[i];
}

const char *reid_config_origin(const reid_config *config, const char *key)
{
    const char *origin = reid_config_value(config, key)->origin;
    return origin ? origin : "default";
}

char *reid_config_text(const reid_config *config, const char *key)
{
    const reid_value *value = reid_config_value(config, key);
    if (value->type == REID_CONFIG_STRING && !reid_value_needs_quotes(value->strings[0]))
        return reid_xstrdup(value->strings[0]);
    reid_str text = REID_STR_INIT;
    reid_value_add_literal(value, &text);
    return reid_str_take(&text);
}

uint64_t reid_config_hash(const reid_config *config)
{
    char *text = reid_config_dump(config);
    uint64_t hash = reid_hash64(text, strlen(text), 0);
    free(text);
    return hash;
}
