#include "config/literal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/str.h"

typedef struct scanner {
    const char *at;
    int depth;
} scanner;

static bool scan_value(scanner *s, reid_literal *ret_literal);

void reid_literal_make(reid_literal_kind kind, const char *text, reid_literal *ret_literal)
{
    *ret_literal = (reid_literal){.kind = kind, .text = reid_xstrdup(text)};
}

void reid_literal_fini(reid_literal *literal)
{
    if (!literal)
        return;
    for (size_t i = 0; i < literal->count; i++)
        reid_literal_fini(&literal->items[i]);
    free(literal->items);
    free(literal->text);
    *literal = (reid_literal){0};
}

bool reid_literal_append(reid_literal *list, reid_literal *item)
{
    if (list->count == REID_LITERAL_MAX_ITEMS)
        return false;
    list->items = reid_xrealloc(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = *item;
    *item = (reid_literal){0};
    return true;
}

static void skip_space(scanner *s)
{
    while (isspace((unsigned char)*s->at))
        s->at++;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* --- Numbers --- */

static bool is_digit(char c, bool hexadecimal)
{
    return hexadecimal ? isxdigit((unsigned char)c) : isdigit((unsigned char)c);
}

/* Copies a run of number characters without the underscores that Python allows between digits. */
static bool take_number_text(scanner *s, char *buffer, size_t size)
{
    size_t length = 0;
    const char *at = s->at;
    for (; is_word(*at) || *at == '.' || *at == '+' || *at == '-'; at++) {
        bool sign = *at == '+' || *at == '-';
        if (sign && !(length > 0 && (at[-1] == 'e' || at[-1] == 'E')))
            return false;
        if (*at == '_') {
            bool letters = strpbrk(s->at, "xXoObB") == s->at + 1; /* hexadecimal */
            if (at == s->at || !is_digit(at[-1], letters) || !is_digit(at[1], letters))
                return false;
            continue;
        }
        if (length + 1 >= size)
            return false;
        buffer[length++] = *at;
    }
    buffer[length] = '\0';
    s->at = at;
    return length > 0;
}

/* 0x1f, 0o17, 0b1 */
static bool parse_prefixed_int(const char *text, int64_t *ret_value)
{
    int base = 0;
    switch (tolower((unsigned char)text[1])) {
    case 'x':
        base = 16;
        break;
    case 'o':
        base = 8;
        break;
    case 'b':
        base = 2;
        break;
    }
    if (text[0] != '0' || base == 0 || !isxdigit((unsigned char)text[2]))
        return false;
    char *end;
    errno = 0;
    long long value = strtoll(text + 2, &end, base);
    if (*end != '\0' || errno != 0)
        return false;
    *ret_value = value;
    return true;
}

/* 010 is eight in YAML 1.1 and an error in Python; it is no number here. */
static bool is_decimal_int(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    bool leading_zero = text[0] == '0' && digits != strspn(text, "0");
    return digits > 0 && text[digits] == '\0' && !leading_zero;
}

static bool parse_unsigned(const char *text, reid_literal *number)
{
    if (parse_prefixed_int(text, &number->integer)) {
        number->kind = REID_LITERAL_INT;
        return true;
    }
    if (is_decimal_int(text)) {
        number->kind = REID_LITERAL_INT;
        return reid_parse_int64(text, &number->integer) == REID_OK;
    }
    number->kind = REID_LITERAL_FLOAT;
    if (strcasecmp(text, ".inf") == 0) {
        number->number = INFINITY;
        return true;
    }
    if (strcasecmp(text, ".nan") == 0) {
        number->number = NAN;
        return true;
    }
    /* Digits only: "inf", "nan" and hexadecimal floats are names or errors in Python. */
    bool whole = text[strspn(text, "0123456789")] == '\0';
    if (whole || text[strspn(text, "0123456789.eE+-")] != '\0')
        return false;
    return reid_parse_double(text, &number->number) == REID_OK;
}

static bool scan_number(scanner *s, reid_literal *ret_literal)
{
    scanner ahead = *s;
    bool negative = *ahead.at == '-';
    if (*ahead.at == '-' || *ahead.at == '+') {
        ahead.at++;
        skip_space(&ahead);
    }
    if (!isdigit((unsigned char)*ahead.at) && *ahead.at != '.')
        return false;
    char buffer[128];
    reid_literal number = {0};
    if (!take_number_text(&ahead, buffer, sizeof buffer) || !parse_unsigned(buffer, &number))
        return false;
    if (negative) {
        number.integer = -number.integer;
        number.number = -number.number;
    }
    number.text = reid_xstrndup(s->at, (size_t)(ahead.at - s->at));
    *ret_literal = number;
    s->at = ahead.at;
    return true;
}

/* --- Strings --- */

static void add_code_point(reid_str *out, uint32_t c)
{
    if (c < 0x80) {
        reid_str_add_char(out, (char)c);
        return;
    }
    int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t LEAD[] = {0, 0xc0, 0xe0, 0xf0};
    reid_str_add_char(out, (char)(LEAD[tail] | (c >> (6 * tail))));
    while (tail-- > 0)
        reid_str_add_char(out, (char)(0x80 | ((c >> (6 * tail)) & 0x3f)));
}

/* \xhh, \uhhhh, \Uhhhhhhhh: a code point, not a byte. */
static bool scan_hex_escape(scanner *s, int digits, reid_str *out)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, s->at++) {
        if (!isxdigit((unsigned char)*s->at))
            return false;
        int letter = tolower((unsigned char)*s->at);
        c = c * 16 + (uint32_t)(letter <= '9' ? letter - '0' : letter - 'a' + 10);
    }
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    if (c == 0 || surrogate || c > 0x10ffff)
        return false;
    add_code_point(out, c);
    return true;
}

/* The characters after a backslash. Octal and named escapes are not read: the text stays as it is.
 */
static bool scan_escape(scanner *s, reid_str *out)
{
    static const char NAMES[] = "\\'\"abfnrtv";
    static const char VALUES[] = "\\'\"\a\b\f\n\r\t\v";
    char c = *s->at;
    if (c == '\0' || c == 'N' || isdigit((unsigned char)c))
        return false;
    const char *name = strchr(NAMES, c);
    s->at++;
    if (name) {
        reid_str_add_char(out, VALUES[name - NAMES]);
        return true;
    }
    switch (c) {
    case 'x':
        return scan_hex_escape(s, 2, out);
    case 'u':
        return scan_hex_escape(s, 4, out);
    case 'U':
        return scan_hex_escape(s, 8, out);
    case '\n':
        return true;
    default: /* Python keeps the backslash of an escape it does not know */
        reid_str_add_char(out, '\\');
        reid_str_add_char(out, c);
        return true;
    }
}

static bool scan_string(scanner *s, reid_literal *ret_literal)
{
    char quote = *s->at;
    if (quote != '\'' && quote != '"')
        return false;
    reid_str content = REID_STR_INIT;
    s->at++;
    while (*s->at != quote) {
        bool good = *s->at != '\0' && *s->at != '\n';
        if (good && *s->at == '\\') {
            s->at++;
            good = scan_escape(s, &content);
        } else if (good) {
            reid_str_add_char(&content, *s->at++);
        }
        if (!good) {
            reid_str_fini(&content);
            return false;
        }
    }
    s->at++;
    *ret_literal = (reid_literal){.kind = REID_LITERAL_STRING, .text = reid_str_take(&content)};
    return true;
}

/* --- Words, lists and the whole --- */

static bool scan_word(scanner *s, reid_literal *ret_literal)
{
    const char *end = s->at;
    while (is_word(*end) || *end == '.' || *end == '-' || *end == '/' || *end == '~')
        end++;
    if (end == s->at)
        return false;
    char *word = reid_xstrndup(s->at, (size_t)(end - s->at));
    reid_literal literal = {.kind = REID_LITERAL_TEXT, .text = word};
    if (strcmp(word, "None") == 0)
        literal.kind = REID_LITERAL_NONE;
    literal.truth = strcmp(word, "True") == 0;
    if (literal.truth || strcmp(word, "False") == 0)
        literal.kind = REID_LITERAL_BOOL;
    *ret_literal = literal;
    s->at = end;
    return true;
}

/* After the opening bracket, up to and with the closing one. Sets *ret_commas to the number of
 * commas. */
static bool scan_items(scanner *s, char closing, reid_literal *list, size_t *ret_commas)
{
    *ret_commas = 0;
    for (;;) {
        skip_space(s);
        if (*s->at == closing) {
            s->at += closing != '\0';
            return true;
        }
        if (list->count > *ret_commas)
            return false; /* two values without a comma */
        reid_literal item = {0};
        if (!scan_value(s, &item) || !reid_literal_append(list, &item)) {
            reid_literal_fini(&item);
            return false;
        }
        skip_space(s);
        if (*s->at == ',') {
            s->at++;
            ++*ret_commas;
        }
    }
}

static bool scan_list(scanner *s, reid_literal *ret_literal)
{
    char opening = *s->at;
    if ((opening != '(' && opening != '[') || s->depth == REID_LITERAL_MAX_DEPTH)
        return false;
    const char *start = s->at;
    reid_literal list = {.kind = REID_LITERAL_LIST};
    size_t commas;
    s->at++;
    s->depth++;
    bool good = scan_items(s, opening == '(' ? ')' : ']', &list, &commas);
    s->depth--;
    if (!good) {
        reid_literal_fini(&list);
        return false;
    }
    if (opening == '(' && list.count == 1 && commas == 0) { /* (x) is x, (x,) is a tuple */
        *ret_literal = list.items[0];
        list.items[0] = (reid_literal){0};
        reid_literal_fini(&list);
        return true;
    }
    list.text = reid_xstrndup(start, (size_t)(s->at - start));
    *ret_literal = list;
    return true;
}

static bool scan_value(scanner *s, reid_literal *ret_literal)
{
    skip_space(s);
    if (*s->at == '(' || *s->at == '[')
        return scan_list(s, ret_literal);
    if (*s->at == '\'' || *s->at == '"')
        return scan_string(s, ret_literal);
    return scan_number(s, ret_literal) || scan_word(s, ret_literal);
}

/* 40, 90 is a tuple without brackets. Bare words make none: "a,b" is a text. */
static bool scan_tuple(scanner *s, reid_literal *ret_literal)
{
    const char *start = s->at;
    reid_literal tuple = {.kind = REID_LITERAL_LIST};
    size_t commas;
    if (!scan_items(s, '\0', &tuple, &commas)) {
        reid_literal_fini(&tuple);
        return false;
    }
    bool words = tuple.count == 0;
    for (size_t i = 0; i < tuple.count; i++)
        words = words || tuple.items[i].kind == REID_LITERAL_TEXT;
    if (words) {
        reid_literal_fini(&tuple);
        return false;
    }
    tuple.text = reid_xstrdup(start);
    *ret_literal = tuple;
    return true;
}

static bool scan_whole(scanner *s, reid_literal *ret_literal)
{
    scanner ahead = *s;
    if (!scan_value(&ahead, ret_literal))
        return false;
    skip_space(&ahead);
    if (*ahead.at != ',') {
        *s = ahead;
        return true;
    }
    reid_literal_fini(ret_literal);
    return scan_tuple(s, ret_literal);
}

static void parse_with(const char *text, bool (*scan)(scanner *, reid_literal *),
                       reid_literal *ret_literal)
{
    reid_literal literal = {0};
    scanner s = {.at = text};
    if (strlen(text) <= REID_LITERAL_MAX_LENGTH) {
        skip_space(&s);
        bool good = scan(&s, &literal);
        skip_space(&s);
        if (good && *s.at == '\0') {
            if (literal.kind !=
                REID_LITERAL_STRING) { /* a string key takes the text as it was written */
                free(literal.text);
                literal.text = reid_xstrdup(text);
            }
            *ret_literal = literal;
            return;
        }
        reid_literal_fini(&literal);
    }
    reid_literal_make(REID_LITERAL_TEXT, text, ret_literal);
}

void reid_literal_parse(const char *text, reid_literal *ret_literal)
{
    parse_with(text, scan_whole, ret_literal);
}

void reid_literal_parse_number(const char *text, reid_literal *ret_literal)
{
    parse_with(text, scan_number, ret_literal);
}
