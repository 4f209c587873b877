#include "config/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/compiler.h"

bool reid_value_is_list(reid_config_type type)
{
    return type >= REID_CONFIG_INT_LIST;
}

reid_config_type reid_value_element_type(reid_config_type type)
{
    switch (type) {
    case REID_CONFIG_INT_LIST:
        return REID_CONFIG_INT;
    case REID_CONFIG_FLOAT_LIST:
        return REID_CONFIG_FLOAT;
    case REID_CONFIG_STRING_LIST:
        return REID_CONFIG_STRING;
    default:
        return type;
    }
}

/* --- Life --- */

static void value_allocate(reid_value *value, reid_config_type type, size_t count)
{
    value->type = type;
    value->count = count;
    switch (reid_value_element_type(type)) {
    case REID_CONFIG_FLOAT:
        value->floats = reid_xcalloc(count, sizeof *value->floats);
        break;
    case REID_CONFIG_STRING:
        value->strings = reid_xcalloc(count, sizeof *value->strings);
        break;
    default:
        value->ints = reid_xcalloc(count, sizeof *value->ints);
        break;
    }
}

void reid_value_copy(const reid_value *value, reid_value *ret_copy)
{
    reid_value copy = {0};
    value_allocate(&copy, value->type, value->count);
    copy.origin = value->origin ? reid_xstrdup(value->origin) : NULL;
    for (size_t i = 0; i < value->count; i++) {
        switch (reid_value_element_type(value->type)) {
        case REID_CONFIG_FLOAT:
            copy.floats[i] = value->floats[i];
            break;
        case REID_CONFIG_STRING:
            copy.strings[i] = reid_xstrdup(value->strings[i]);
            break;
        default:
            copy.ints[i] = value->ints[i];
            break;
        }
    }
    *ret_copy = copy;
}

bool reid_value_equal(const reid_value *a, const reid_value *b)
{
    if (a->type != b->type || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        bool same;
        switch (reid_value_element_type(a->type)) {
        case REID_CONFIG_FLOAT:
            same = a->floats[i] == b->floats[i];
            break;
        case REID_CONFIG_STRING:
            same = strcmp(a->strings[i], b->strings[i]) == 0;
            break;
        default:
            same = a->ints[i] == b->ints[i];
            break;
        }
        if (!same)
            return false;
    }
    return true;
}

void reid_value_fini(reid_value *value)
{
    if (!value)
        return;
    if (reid_value_element_type(value->type) == REID_CONFIG_STRING && value->strings) {
        for (size_t i = 0; i < value->count; i++)
            free(value->strings[i]);
    }
    free(value->ints); /* the members of the union share the pointer */
    free(value->origin);
    *value = (reid_value){0};
}

/* --- Messages --- */

const char *reid_value_show(const char *text, char *buffer, size_t size)
{
    static const char CUT[] = "…";
    bool valid = reid_utf8_is_valid(text);
    size_t length = 0;
    for (; *text && length + sizeof CUT < size; text++) {
        unsigned char c = (unsigned char)*text;
        bool hidden = c < 0x20 || c == 0x7f || (c >= 0x80 && !valid);
        buffer[length++] = hidden ? '?' : *text;
    }
    if (*text) {
        /* Not in the middle of a UTF-8 sequence. */
        while (valid && length > 0 && ((unsigned char)*text & 0xc0) == 0x80) {
            text--;
            length--;
        }
        memcpy(buffer + length, CUT, sizeof CUT - 1);
        length += sizeof CUT - 1;
    }
    buffer[length] = '\0';
    return buffer;
}

static const char *type_words(reid_config_type type)
{
    static const char *const WORDS[] = {
        [REID_CONFIG_BOOL] = "True or False",
        [REID_CONFIG_INT] = "an int",
        [REID_CONFIG_FLOAT] = "a float",
        [REID_CONFIG_STRING] = "a string",
        [REID_CONFIG_INT_LIST] = "a list of ints",
        [REID_CONFIG_FLOAT_LIST] = "a list of floats",
        [REID_CONFIG_STRING_LIST] = "a list of strings",
    };
    return WORDS[type];
}

static const char *kind_words(reid_literal_kind kind)
{
    static const char *const WORDS[] = {
        [REID_LITERAL_TEXT] = "the text ",   [REID_LITERAL_NONE] = "",
        [REID_LITERAL_BOOL] = "the bool ",   [REID_LITERAL_INT] = "the int ",
        [REID_LITERAL_FLOAT] = "the float ", [REID_LITERAL_STRING] = "the string ",
        [REID_LITERAL_LIST] = "the list ",
    };
    return WORDS[kind];
}

/* Why a text that looks right is not taken, "" when nothing more can be said. */
static const char *refusal_reason(reid_config_type type, const reid_literal *literal)
{
    bool text = literal->kind == REID_LITERAL_TEXT || literal->kind == REID_LITERAL_STRING;
    if (text && strlen(literal->text) > REID_LITERAL_MAX_LENGTH)
        return " (too long)";
    if (type == REID_CONFIG_STRING)
        return text ? " (it is not UTF-8)" : "";
    const char *digits = literal->text + (*literal->text == '-');
    bool number =
        literal->kind == REID_LITERAL_TEXT && *digits && !digits[strspn(digits, "0123456789")];
    if (number && type == REID_CONFIG_INT)
        return *digits == '0' ? " (write it without leading zeros)" : " (too large)";
    bool quoted_number = literal->kind == REID_LITERAL_STRING && *digits >= '0' && *digits <= '9';
    return quoted_number ? " (leave the quotes out)" : "";
}

/* `index` is SIZE_MAX when the value as a whole does not fit. */
static reid_status fail_type(const reid_config_row *row, const reid_literal *literal, size_t index,
                             const char *origin, reid_error *err)
{
    char shown[80];
    bool list = reid_value_is_list(row->type);
    bool quoted = literal->kind == REID_LITERAL_TEXT || literal->kind == REID_LITERAL_STRING;
    bool none = literal->kind == REID_LITERAL_NONE;
    reid_str s = REID_STR_INIT;
    if (origin)
        reid_str_addf(&s, "%s: ", origin);
    reid_str_addf(&s, "%s takes %s, not %s%s%s%s", row->name, type_words(row->type),
                  kind_words(literal->kind), quoted ? "'" : "",
                  none ? "None" : reid_value_show(literal->text, shown, sizeof shown),
                  quoted ? "'" : "");
    if (list && index != SIZE_MAX)
        reid_str_addf(&s, " as element %zu", index + 1);
    if (list && index == SIZE_MAX)
        reid_str_addf(&s, "; write a list, such as %s",
                      row->fallback[1] == ']' ? "[1, 2]" : row->fallback);
    if (!list || index != SIZE_MAX)
        reid_str_add(&s, refusal_reason(reid_value_element_type(row->type), literal));
    reid_status status = reid_fail(err, REID_ERR_INVALID, "%s", reid_str_text(&s));
    reid_str_fini(&s);
    return status;
}

/* --- Decoding --- */

/* Beyond fast-reid, true and false are bools on a command line too. */
static bool decode_bool(const reid_literal *literal, int64_t *ret_truth)
{
    if (literal->kind == REID_LITERAL_BOOL) {
        *ret_truth = literal->truth;
        return true;
    }
    bool yes = strcasecmp(literal->text, "true") == 0;
    if (literal->kind != REID_LITERAL_TEXT || !(yes || strcasecmp(literal->text, "false") == 0))
        return false;
    *ret_truth = yes;
    return true;
}

static bool decode_string(const reid_literal *literal, char **ret_text)
{
    if (literal->kind == REID_LITERAL_LIST || strlen(literal->text) > REID_LITERAL_MAX_LENGTH ||
        !reid_utf8_is_valid(literal->text))
        return false;
    *ret_text = reid_xstrdup(literal->kind == REID_LITERAL_NONE ? "" : literal->text);
    return true;
}

static bool decode_float(const reid_literal *literal, double *ret_number)
{
    bool number = literal->kind == REID_LITERAL_INT || literal->kind == REID_LITERAL_FLOAT;
    if (!number || isnan(literal->number))
        return false;
    *ret_number = literal->kind == REID_LITERAL_INT ? (double)literal->integer : literal->number;
    return true;
}

static bool decode_element(const reid_literal *literal, size_t i, reid_value *value)
{
    switch (reid_value_element_type(value->type)) {
    case REID_CONFIG_BOOL:
        return decode_bool(literal, &value->ints[i]);
    case REID_CONFIG_FLOAT:
        return decode_float(literal, &value->floats[i]);
    case REID_CONFIG_STRING:
        return decode_string(literal, &value->strings[i]);
    default:
        value->ints[i] = literal->integer;
        return literal->kind == REID_LITERAL_INT;
    }
}

reid_status reid_value_decode(const reid_config_row *row, const reid_literal *literal,
                              const char *origin, reid_value *ret_value, reid_error *err)
{
    bool list = reid_value_is_list(row->type);
    if (list != (literal->kind == REID_LITERAL_LIST))
        return fail_type(row, literal, SIZE_MAX, origin, err);
    reid_value value = {0};
    value_allocate(&value, row->type, list ? literal->count : 1);
    for (size_t i = 0; i < value.count; i++) {
        const reid_literal *element = list ? &literal->items[i] : literal;
        bool none_in_list = list && element->kind == REID_LITERAL_NONE;
        if (none_in_list || !decode_element(element, i, &value)) {
            reid_value_fini(&value);
            return fail_type(row, element, list ? i : SIZE_MAX, origin, err);
        }
    }
    value.origin = origin ? reid_xstrdup(origin) : NULL;
    *ret_value = value;
    return REID_OK;
}

/* --- Text --- */

void reid_value_add_quoted(const char *text, reid_str *out)
{
    reid_str_add_char(out, '\'');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\'' || c == '\\')
            reid_str_addf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            reid_str_addf(out, "\\x%02x", c);
        else
            reid_str_add_char(out, (char)c);
    }
    reid_str_add_char(out, '\'');
}

void reid_value_add_float(double number, reid_str *out)
{
    char buffer[32];
    if (isinf(number)) {
        reid_str_add(out, number > 0 ? ".inf" : "-.inf");
        return;
    }
    reid_format_double(buffer, number);
    size_t mantissa = strcspn(buffer, "e");
    bool dot = memchr(buffer, '.', mantissa) != NULL;
    reid_str_addf(out, "%.*s%s%s", (int)mantissa, buffer, dot ? "" : ".0", buffer + mantissa);
}

void reid_value_add_element(const reid_value *value, size_t i, reid_str *out)
{
    switch (reid_value_element_type(value->type)) {
    case REID_CONFIG_BOOL:
        reid_str_add(out, value->ints[i] ? "True" : "False");
        break;
    case REID_CONFIG_FLOAT:
        reid_value_add_float(value->floats[i], out);
        break;
    case REID_CONFIG_STRING:
        reid_value_add_quoted(value->strings[i], out);
        break;
    default:
        reid_str_addf(out, "%lld", (long long)value->ints[i]);
        break;
    }
}

void reid_value_add_literal(const reid_value *value, reid_str *out)
{
    if (!reid_value_is_list(value->type)) {
        reid_value_add_element(value, 0, out);
        return;
    }
    reid_str_add_char(out, '[');
    for (size_t i = 0; i < value->count; i++) {
        reid_str_add(out, i > 0 ? ", " : "");
        reid_value_add_element(value, i, out);
    }
    reid_str_add_char(out, ']');
}

bool reid_value_needs_quotes(const char *text)
{
    reid_literal again;
    reid_literal_parse(text, &again);
    bool other = again.kind == REID_LITERAL_STRING || again.kind == REID_LITERAL_NONE ||
                 again.kind == REID_LITERAL_LIST;
    reid_literal_fini(&again);
    return other;
}
