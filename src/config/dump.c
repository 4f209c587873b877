#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/private.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(reid_config_key_name(*(const size_t *)a),
                  reid_config_key_name(*(const size_t *)b));
}

/* To some reader: YAML 1.1 also takes 0x1f_ and 012 for numbers. */
static bool looks_like_number(const char *text)
{
    if (*text == '0' || strchr(text, '_'))
        return true;
    reid_literal literal;
    reid_literal_parse_number(text, &literal);
    bool number = literal.kind != REID_LITERAL_TEXT;
    reid_literal_fini(&literal);
    return number;
}

/* A word that every YAML reader takes for this text: letters, digits, "_./-", but no number, date,
 * bool or null. */
static bool is_plain_word(const char *text)
{
    static const char *const TAKEN[] = {"yes",   "no",   "on", "off", "true",
                                        "false", "null", "y",  "n"};
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t digits = strspn(text, "0123456789");
    size_t slashes = strspn(text, "/");
    const char *first = text + digits + slashes; /* "50x" and "/data" begin with a letter here */
    if (!*first || !strchr(LETTERS, *first) || (digits > 0 && looks_like_number(text)))
        return false;
    for (size_t i = 0; i < sizeof TAKEN / sizeof *TAKEN; i++) {
        if (reid_str_distance(text, TAKEN[i]) == 0)
            return false;
    }
    return first[strspn(first,
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-")] ==
           '\0';
}

/* Single quotes keep everything but control characters; those need double quotes. */
static void add_yaml_string(const char *text, reid_str *out)
{
    bool control = false;
    for (const char *c = text; *c; c++)
        control = control || (unsigned char)*c < 0x20 || *c == 0x7f;
    if (is_plain_word(text)) {
        reid_str_add(out, text);
        return;
    }
    reid_str_add_char(out, control ? '"' : '\'');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (control && (c < 0x20 || c == 0x7f))
            reid_str_addf(out, "\\x%02x", c);
        else if (control && (c == '"' || c == '\\'))
            reid_str_addf(out, "\\%c", c);
        else if (!control && c == '\'')
            reid_str_add(out, "''");
        else
            reid_str_add_char(out, (char)c);
    }
    reid_str_add_char(out, control ? '"' : '\'');
}

/* A text that stands alone is decoded once more when it is read, an element of a list is not. */
static void add_string(const reid_value *value, size_t i, reid_str *out)
{
    const char *text = value->strings[i];
    if (value->type == REID_CONFIG_STRING_LIST || !reid_value_needs_quotes(text)) {
        add_yaml_string(text, out);
        return;
    }
    reid_str literal = REID_STR_INIT;
    reid_value_add_quoted(text, &literal);
    add_yaml_string(reid_str_text(&literal), out);
    reid_str_fini(&literal);
}

static void add_element(const reid_value *value, size_t i, reid_str *out)
{
    if (value->type == REID_CONFIG_BOOL)
        reid_str_add(out, value->ints[i] ? "true" : "false");
    else if (reid_value_element_type(value->type) == REID_CONFIG_STRING)
        add_string(value, i, out);
    else
        reid_value_add_element(value, i, out);
}

static void add_indent(size_t depth, reid_str *out)
{
    for (size_t i = 0; i < depth; i++)
        reid_str_add(out, "  ");
}

static void add_value(const reid_value *value, size_t depth, reid_str *out)
{
    if (!reid_value_is_list(value->type)) {
        reid_str_add_char(out, ' ');
        add_element(value, 0, out);
        reid_str_add_char(out, '\n');
        return;
    }
    reid_str_add(out, value->count > 0 ? "\n" : " []\n");
    for (size_t i = 0; i < value->count; i++) {
        add_indent(depth, out);
        reid_str_add(out, "- ");
        add_element(value, i, out);
        reid_str_add_char(out, '\n');
    }
}

/* Opens the sections of `name` that are not open since `before`; returns its own depth and last
 * part. */
static size_t add_sections(const char *before, const char *name, const char **ret_last,
                           reid_str *out)
{
    size_t depth = 0;
    const char *part = name;
    bool shared = true;
    for (const char *dot = strchr(part, '.'); dot; dot = strchr(part, '.'), depth++) {
        size_t length = (size_t)(dot - name) + 1;
        shared = shared && strncmp(before, name, length) == 0;
        if (!shared) {
            add_indent(depth, out);
            reid_str_add_bytes(out, part, (size_t)(dot - part));
            reid_str_add(out, ":\n");
        }
        part = dot + 1;
    }
    *ret_last = part;
    return depth;
}

char *reid_config_dump(const reid_config *config)
{
    size_t count = reid_config_key_count();
    size_t *order = reid_xcalloc(count, sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    qsort(order, count, sizeof *order, compare_names);
    reid_str out = REID_STR_INIT;
    const char *before = "";
    for (size_t i = 0; i < count; i++) {
        const char *name = reid_config_key_name(order[i]);
        const char *last;
        size_t depth = add_sections(before, name, &last, &out);
        add_indent(depth, &out);
        reid_str_addf(&out, "%s:", last);
        add_value(&config->values[order[i]], depth, &out);
        before = name;
    }
    free(order);
    return reid_str_take(&out);
}
