#include "base/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"

#define JSON_MAX_BYTES ((size_t)512 << 20)
#define INDEX_FROM_MEMBERS 16

/* ---- writer ---- */

static void before_value(reid_json_writer *w)
{
    if (w->need_comma)
        reid_str_add(w->out, w->item_separator);
    w->need_comma = true;
}

static void add_escaped(reid_str *out, unsigned char c)
{
    static const char LETTERS[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof LETTERS && LETTERS[c])
        reid_str_addf(out, "\\%c", LETTERS[c]);
    else
        reid_str_addf(out, "\\u%04x", c);
}

/* Bytes that are not UTF-8 become U+FFFD, so that the output is always valid. */
static void add_quoted(reid_str *out, const char *text)
{
    reid_str_add_char(out, '"');
    const unsigned char *run = (const unsigned char *)text;
    const unsigned char *p = run;
    while (*p) {
        size_t length = reid_utf8_length((const char *)p);
        bool plain = length > 0 && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7F;
        if (plain) {
            p += length;
            continue;
        }
        reid_str_add_bytes(out, run, (size_t)(p - run));
        if (length == 0)
            reid_str_add(out, "\\ufffd");
        else
            add_escaped(out, *p);
        run = ++p;
    }
    reid_str_add_bytes(out, run, (size_t)(p - run));
    reid_str_add_char(out, '"');
}

reid_json_writer reid_json_begin(reid_str *out)
{
    return (reid_json_writer){.out = out, .item_separator = ",", .key_separator = ":"};
}

void reid_json_object(reid_json_writer *w)
{
    before_value(w);
    reid_str_add_char(w->out, '{');
    w->need_comma = false;
}

void reid_json_end_object(reid_json_writer *w)
{
    reid_str_add_char(w->out, '}');
    w->need_comma = true;
}

void reid_json_array(reid_json_writer *w)
{
    before_value(w);
    reid_str_add_char(w->out, '[');
    w->need_comma = false;
}

void reid_json_end_array(reid_json_writer *w)
{
    reid_str_add_char(w->out, ']');
    w->need_comma = true;
}

void reid_json_key(reid_json_writer *w, const char *key)
{
    before_value(w);
    add_quoted(w->out, key);
    reid_str_add(w->out, w->key_separator);
    w->need_comma = false;
}

void reid_json_string(reid_json_writer *w, const char *text)
{
    before_value(w);
    if (text)
        add_quoted(w->out, text);
    else
        reid_str_add(w->out, "null");
}

void reid_json_int(reid_json_writer *w, int64_t value)
{
    before_value(w);
    reid_str_addf(w->out, "%" PRId64, value);
}

/* ".0" keeps a whole number a floating-point one for the reader, as Python does. */
void reid_json_double(reid_json_writer *w, double value)
{
    before_value(w);
    if (isnan(value)) {
        reid_str_add(w->out, "NaN");
    } else if (isinf(value)) {
        reid_str_add(w->out, value > 0 ? "Infinity" : "-Infinity");
    } else {
        char buffer[32];
        reid_str_add(w->out, reid_format_double(buffer, value));
        if (!strpbrk(buffer, ".e"))
            reid_str_add(w->out, ".0");
    }
}

void reid_json_bool(reid_json_writer *w, bool value)
{
    before_value(w);
    reid_str_add(w->out, value ? "true" : "false");
}

void reid_json_null(reid_json_writer *w)
{
    before_value(w);
    reid_str_add(w->out, "null");
}

/* ---- reader ---- */

/* A mirror of jansson's tree that gives members by index. Texts stay in `source`, which the root
 * holds. */
struct reid_json {
    json_t *source;
    reid_json *children;
    const char **keys; /* of an object, in file order */
    uint32_t *by_name; /* children in the order of their keys; NULL for few members */
    size_t count;
};

static int compare_keys(const void *a, const void *b, void *keys_of_object)
{
    const char **keys = keys_of_object;
    return strcmp(keys[*(const uint32_t *)a], keys[*(const uint32_t *)b]);
}

static bool mirror(reid_json *node, json_t *source);

static bool mirror_object(reid_json *node, json_t *source)
{
    size_t count = json_object_size(source);
    node->children = reid_alloc(count, sizeof *node->children);
    node->keys = reid_alloc(count, sizeof *node->keys);
    if (!node->children || !node->keys)
        return false;
    const char *key;
    json_t *value;
    json_object_foreach(source, key, value)
    {
        node->keys[node->count] = key;
        if (!mirror(&node->children[node->count++], value))
            return false;
    }
    if (count < INDEX_FROM_MEMBERS)
        return true;
    node->by_name = reid_alloc(count, sizeof *node->by_name);
    if (!node->by_name)
        return false;
    for (size_t i = 0; i < count; i++)
        node->by_name[i] = (uint32_t)i;
    qsort_r(node->by_name, count, sizeof *node->by_name, compare_keys, node->keys);
    return true;
}

static bool mirror_array(reid_json *node, json_t *source)
{
    size_t count = json_array_size(source);
    node->children = reid_alloc(count, sizeof *node->children);
    if (!node->children)
        return false;
    while (node->count < count) {
        json_t *value = json_array_get(source, node->count);
        if (!mirror(&node->children[node->count++], value))
            return false;
    }
    return true;
}

/* Recursion is as deep as the text, which jansson bounds (2048 levels). */
static bool mirror(reid_json *node, json_t *source)
{
    node->source = source;
    if (json_is_object(source))
        return mirror_object(node, source);
    if (json_is_array(source))
        return mirror_array(node, source);
    return true;
}

static void free_children(reid_json *node)
{
    for (size_t i = 0; i < node->count; i++)
        free_children(&node->children[i]);
    free(node->children);
    free(node->keys);
    free(node->by_name);
}

void reid_json_free(reid_json *root)
{
    if (!root)
        return;
    free_children(root);
    json_decref(root->source);
    free(root);
}

reid_status reid_json_parse(const char *text, size_t length, reid_json **ret_root, reid_error *err)
{
    if (length > JSON_MAX_BYTES)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "a JSON text of %zu bytes is over the limit of %zu", length,
                         JSON_MAX_BYTES);
    json_error_t fault;
    json_t *source =
        json_loadb(text ? text : "", length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    if (!source && json_error_code(&fault) == json_error_out_of_memory)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory while reading JSON");
    if (!source)
        return reid_fail(err, REID_ERR_INVALID, "invalid JSON at line %d, column %d: %s",
                         fault.line, fault.column, fault.text);
    reid_json *root = reid_alloc(1, sizeof *root);
    if (!root || !mirror(root, source)) {
        if (root)
            reid_json_free(root);
        else
            json_decref(source);
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory while reading JSON");
    }
    *ret_root = root;
    return REID_OK;
}

reid_json_type reid_json_type_of(const reid_json *value)
{
    if (!value)
        return REID_JSON_NULL;
    switch (json_typeof(value->source)) {
    case JSON_OBJECT:
        return REID_JSON_OBJECT;
    case JSON_ARRAY:
        return REID_JSON_ARRAY;
    case JSON_STRING:
        return REID_JSON_STRING;
    case JSON_INTEGER:
        return REID_JSON_INT;
    case JSON_REAL:
        return REID_JSON_DOUBLE;
    case JSON_TRUE:
    case JSON_FALSE:
        return REID_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return REID_JSON_NULL;
}

static const reid_json *find_indexed(const reid_json *object, const char *key)
{
    size_t low = 0;
    size_t high = object->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t child = object->by_name[middle];
        int order = strcmp(key, object->keys[child]);
        if (order == 0)
            return &object->children[child];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const reid_json *reid_json_get(const reid_json *object, const char *key)
{
    if (!object || !object->keys)
        return NULL;
    if (object->by_name)
        return find_indexed(object, key);
    for (size_t i = 0; i < object->count; i++) {
        if (strcmp(object->keys[i], key) == 0)
            return &object->children[i];
    }
    return NULL;
}

const reid_json *reid_json_at(const reid_json *array, size_t index)
{
    if (!array || !json_is_array(array->source) || index >= array->count)
        return NULL;
    return &array->children[index];
}

size_t reid_json_count(const reid_json *array_or_object)
{
    return array_or_object ? array_or_object->count : 0;
}

const char *reid_json_member(const reid_json *object, size_t index, const reid_json **ret_value)
{
    if (!object || !object->keys || index >= object->count)
        return NULL;
    if (ret_value)
        *ret_value = &object->children[index];
    return object->keys[index];
}

int64_t reid_json_as_int(const reid_json *value, int64_t otherwise)
{
    return value && json_is_integer(value->source) ? json_integer_value(value->source) : otherwise;
}

double reid_json_as_double(const reid_json *value, double otherwise)
{
    return value && json_is_number(value->source) ? json_number_value(value->source) : otherwise;
}

bool reid_json_as_bool(const reid_json *value, bool otherwise)
{
    return value && json_is_boolean(value->source) ? json_is_true(value->source) : otherwise;
}

const char *reid_json_as_string(const reid_json *value, const char *otherwise)
{
    return value && json_is_string(value->source) ? json_string_value(value->source) : otherwise;
}
