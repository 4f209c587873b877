#include "config/document.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "base/vec.h"
#include "config/value.h"

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; deleted by the next call of next_event */
    const char *text, *name;
    size_t size;
    reid_document *document;
    reid_error *err;
} reader;

static reid_status read_mapping(reader *r, const char *section, int depth);

static size_t event_line(const reader *r)
{
    return r->event.start_mark.line + 1;
}

/* libyaml gives no line for bytes that are no text, only their offset. */
static size_t problem_line(const reader *r)
{
    if (r->parser.error != YAML_READER_ERROR)
        return r->parser.problem_mark.line + 1;
    size_t line = 1;
    for (size_t i = 0; i < r->parser.problem_offset && i < r->size; i++)
        line += r->text[i] == '\n';
    return line;
}

static reid_status next_event(reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return REID_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return reid_fail(r->err, REID_ERR_EXHAUSTED, "%s: out of memory", r->name);
    return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: not valid YAML: %s", r->name,
                     problem_line(r), r->parser.problem ? r->parser.problem : "unknown problem");
}

/* One rule for every node: what could make a small text large, or a value more than data, is
 * refused. */
static reid_status check_plain_node(reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: anchors (&%.40s) are not allowed",
                         r->name, event_line(r), (const char *)anchor);
    if (tag)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: tags (%.40s) are not allowed", r->name,
                         event_line(r), (const char *)tag);
    return REID_OK;
}

static reid_status fail_alias(reader *r)
{
    return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: aliases (*%.40s) are not allowed", r->name,
                     event_line(r), (const char *)r->event.data.alias.anchor);
}

/* --- Scalars --- */

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return true;
    }
    return false;
}

/* The words that YAML 1.1 itself knows, as PyYAML reads them. False when `text` is none of them. */
static bool resolve_word(const char *text, reid_literal *ret_literal)
{
    static const char *const YES[] = {"yes",  "Yes", "YES", "true", "True",
                                      "TRUE", "on",  "On",  "ON"};
    static const char *const NO[] = {"no",    "No",  "NO",  "false", "False",
                                     "FALSE", "off", "Off", "OFF"};
    static const char *const NONE[] = {"", "~", "null", "Null", "NULL"};
    bool yes = is_one_of(text, YES, REID_COUNT_OF(YES));
    if (yes || is_one_of(text, NO, REID_COUNT_OF(NO))) {
        reid_literal_make(REID_LITERAL_BOOL, text, ret_literal);
        ret_literal->truth = yes;
        return true;
    }
    if (!is_one_of(text, NONE, REID_COUNT_OF(NONE)))
        return false;
    reid_literal_make(REID_LITERAL_NONE, text, ret_literal);
    return true;
}

/* As in fast-reid, a text that stands alone is decoded as a Python literal; in a YAML list it is
 * what YAML says. */
static reid_status read_scalar(reader *r, bool in_list, reid_literal *ret_literal)
{
    const char *text = (const char *)r->event.data.scalar.value;
    bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    REID_TRY(check_plain_node(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    if (strlen(text) != r->event.data.scalar.length)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: a value holds a NUL character", r->name,
                         event_line(r));
    if (plain && resolve_word(text, ret_literal))
        return REID_OK;
    if (in_list && !plain)
        reid_literal_make(REID_LITERAL_STRING, text, ret_literal);
    else if (in_list)
        reid_literal_parse_number(text, ret_literal);
    else
        reid_literal_parse(text, ret_literal);
    return REID_OK;
}

/* The current event opened the list; on return it is the one that closed it. */
static reid_status read_list(reader *r, int depth, reid_literal *ret_list)
{
    size_t line = event_line(r);
    REID_TRY(
        check_plain_node(r, r->event.data.sequence_start.anchor, r->event.data.sequence_start.tag));
    if (depth == REID_DOCUMENT_MAX_DEPTH)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: nested more than %d deep", r->name,
                         line, REID_DOCUMENT_MAX_DEPTH);
    reid_literal_make(REID_LITERAL_LIST, "[…]", ret_list);
    for (;;) {
        reid_literal item = {0};
        reid_status status = next_event(r);
        if (status != REID_OK)
            return status;
        switch (r->event.type) {
        case YAML_SEQUENCE_END_EVENT:
            return REID_OK;
        case YAML_SCALAR_EVENT:
            status = read_scalar(r, true, &item);
            break;
        case YAML_SEQUENCE_START_EVENT:
            status = read_list(r, depth + 1, &item);
            break;
        case YAML_ALIAS_EVENT:
            status = fail_alias(r);
            break;
        default:
            status = reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: a list holds a mapping", r->name,
                               event_line(r));
            break;
        }
        if (status == REID_OK && !reid_literal_append(ret_list, &item))
            status =
                reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: the list has more than %d elements",
                          r->name, line, REID_LITERAL_MAX_ITEMS);
        if (status != REID_OK) {
            reid_literal_fini(&item);
            return status;
        }
    }
}

/* --- Mappings --- */

static reid_status add_entry(reader *r, const char *section, reid_document_entry **ret_entry)
{
    reid_document *d = r->document;
    const char *name = (const char *)r->event.data.scalar.value;
    char shown[80];
    reid_value_show(name, shown, sizeof shown);
    REID_TRY(check_plain_node(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    if (strlen(name) != r->event.data.scalar.length || strlen(name) > 128 || *name == '\0')
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: '%s' cannot be a key", r->name,
                         event_line(r), shown);
    if (d->count == REID_DOCUMENT_MAX_KEYS)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: more than %d keys", r->name,
                         event_line(r), REID_DOCUMENT_MAX_KEYS);
    char *key = *section ? reid_xasprintf("%s.%s", section, name) : reid_xstrdup(name);
    for (size_t i = 0; i < d->count; i++) {
        if (strcmp(d->items[i].key, key) != 0)
            continue;
        reid_status status = reid_fail(
            r->err, REID_ERR_INVALID, "%s:%zu: '%s' is given twice, first on line %zu", r->name,
            event_line(r), reid_value_show(key, shown, sizeof shown), d->items[i].line);
        free(key);
        return status;
    }
    reid_vec_push(d, ((reid_document_entry){.key = key, .line = event_line(r)}));
    *ret_entry = &d->items[d->count - 1];
    return REID_OK;
}

/* The current event is the first of the value. The entry may move while a section is read. */
static reid_status read_entry_value(reader *r, reid_document_entry *entry, int depth)
{
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, false, &entry->value);
    case YAML_SEQUENCE_START_EVENT:
        return read_list(r, depth + 1, &entry->value);
    case YAML_MAPPING_START_EVENT: {
        entry->section = true;
        char *section = reid_xstrdup(entry->key);
        reid_status status = read_mapping(r, section, depth + 1);
        free(section);
        return status;
    }
    case YAML_ALIAS_EVENT:
        return fail_alias(r);
    default:
        return reid_fail(r->err, REID_ERR_INTERNAL, "%s:%zu: unexpected YAML event %d", r->name,
                         event_line(r), (int)r->event.type);
    }
}

/* The current event opened the mapping; on return it is the one that closed it. */
static reid_status read_mapping(reader *r, const char *section, int depth)
{
    REID_TRY(
        check_plain_node(r, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag));
    if (depth == REID_DOCUMENT_MAX_DEPTH)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: nested more than %d deep", r->name,
                         event_line(r), REID_DOCUMENT_MAX_DEPTH);
    for (;;) {
        reid_document_entry *entry = NULL;
        REID_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return REID_OK;
        if (r->event.type == YAML_ALIAS_EVENT)
            return fail_alias(r);
        if (r->event.type != YAML_SCALAR_EVENT)
            return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: a key must be a word", r->name,
                             event_line(r));
        REID_TRY(add_entry(r, section, &entry));
        REID_TRY(next_event(r));
        REID_TRY(read_entry_value(r, entry, depth));
    }
}

/* Stream start, document start, mapping, document end, stream end. */
static reid_status read_stream(reader *r)
{
    REID_TRY(next_event(r));
    REID_TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return reid_fail(r->err, REID_ERR_INVALID, "%s: there are no keys in it", r->name);
    REID_TRY(next_event(r));
    if (r->event.type == YAML_ALIAS_EVENT)
        return fail_alias(r);
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return reid_fail(r->err, REID_ERR_INVALID,
                         "%s:%zu: expected keys and values, such as 'SOLVER:'", r->name,
                         event_line(r));
    REID_TRY(read_mapping(r, "", 0));
    REID_TRY(next_event(r));
    REID_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: a second document begins", r->name,
                         event_line(r));
    return REID_OK;
}

reid_status reid_document_parse(const char *text, size_t size, const char *name,
                                reid_document *ret_document, reid_error *err)
{
    if (size > REID_DOCUMENT_MAX_BYTES)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%s: larger than %zu bytes", name,
                         REID_DOCUMENT_MAX_BYTES);
    reid_document document = {0};
    reader r = {.text = text, .size = size, .name = name, .document = &document, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        return reid_fail(err, REID_ERR_EXHAUSTED, "%s: out of memory", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    reid_status status = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (status != REID_OK) {
        reid_document_fini(&document);
        return status;
    }
    *ret_document = document;
    return REID_OK;
}

void reid_document_fini(reid_document *document)
{
    if (!document)
        return;
    for (size_t i = 0; i < document->count; i++) {
        free(document->items[i].key);
        reid_literal_fini(&document->items[i].value);
    }
    reid_vec_fini(document);
}
