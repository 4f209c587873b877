#include "events/text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 17
#define BAD_RUNE UINT32_MAX

/* Decodes one character (RFC 3629) and moves on; BAD_RUNE when malformed. */
static uint32_t next_rune(const unsigned char **text)
{
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = *text;
    int length = p[0] < 0x80             ? 1
                 : (p[0] & 0xE0) == 0xC0 ? 2
                 : (p[0] & 0xF0) == 0xE0 ? 3
                 : (p[0] & 0xF8) == 0xF0 ? 4
                                         : 0;
    if (length == 0)
        return BAD_RUNE;
    uint32_t rune = length == 1 ? p[0] : p[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return BAD_RUNE;
        rune = rune << 6 | (p[i] & 0x3Fu);
    }
    bool surrogate = rune >= 0xD800 && rune <= 0xDFFF;
    if (rune < SMALLEST[length] || rune > 0x10FFFF || surrogate)
        return BAD_RUNE;
    *text = p + length;
    return rune;
}

static void add_rune(reid_str *out, uint32_t rune)
{
    static const char NAMED[] = "\b\t\n\f\r\"\\";
    static const char LETTERS[] = "btnfr\"\\";
    const char *named = rune < 0x80 && rune ? strchr(NAMED, (int)rune) : NULL;
    if (named)
        reid_str_addf(out, "\\%c", LETTERS[named - NAMED]);
    else if (rune >= 0x20 && rune < 0x7F)
        reid_str_add_char(out, (char)rune);
    else if (rune < 0x10000)
        reid_str_addf(out, "\\u%04x", (unsigned)rune);
    else
        reid_str_addf(out, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((rune - 0x10000) >> 10)),
                      (unsigned)(0xDC00 + ((rune - 0x10000) & 0x3FF)));
}

void reid_event_text_add_string(reid_str *out, const char *text)
{
    reid_str_add_char(out, '"');
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        uint32_t rune = next_rune(&p);
        REID_ASSERT(rune != BAD_RUNE);
        add_rune(out, rune);
    }
    reid_str_add_char(out, '"');
}

/* Digits d1…dn and exponent e of a text "d.ddde±xx": value = 0.d1…dn × 10^(e + 1). */
typedef struct decimal {
    char digits[DIGITS_MAX + 1];
    int exponent;
} decimal;

static decimal decimal_from(double value, int count)
{
    char text[40];
    snprintf(text, sizeof text, "%.*e", count - 1, value);
    decimal d = {.exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10)};
    d.digits[0] = text[0];
    memcpy(d.digits + 1, text + 2, (size_t)(count - 1));
    return d;
}

static double decimal_value(const decimal *d)
{
    char text[40];
    snprintf(text, sizeof text, "%c.%se%d", d->digits[0], d->digits + 1, d->exponent);
    return strtod(text, NULL);
}

/* One more in the last digit. */
static void decimal_increase(decimal *d)
{
    size_t i = strlen(d->digits);
    while (i > 0 && d->digits[i - 1] == '9')
        d->digits[--i] = '0';
    if (i > 0) {
        d->digits[i - 1]++;
        return;
    }
    d->digits[0] = '1';
    d->exponent++;
}

/* The fewest digits that read back as `value` (> 0), the nearest such number. Above a power of two
 * the doubles lie twice as far apart as below, so there the next decimal up may read back where the
 * nearest one does not. */
static decimal shortest_decimal(double value)
{
    int unused;
    bool power_of_two = frexp(value, &unused) == 0.5;
    decimal d;
    for (int count = 1; count <= DIGITS_MAX; count++) {
        d = decimal_from(value, count);
        if (decimal_value(&d) == value)
            break;
        decimal up = d;
        decimal_increase(&up);
        if (power_of_two && decimal_value(&up) == value)
            return up;
    }
    return d;
}

/* Python's float.__repr__: positional for exponents from -4 to 15, else scientific. */
static void add_finite(reid_str *out, double value)
{
    decimal d = shortest_decimal(value);
    size_t count = strlen(d.digits);
    while (count > 1 && d.digits[count - 1] == '0')
        d.digits[--count] = '\0';
    int point = d.exponent + 1; /* digits before the point */
    if (point > 16 || point < -3) {
        reid_str_addf(out, "%c%s%se%c%02d", d.digits[0], count > 1 ? "." : "", d.digits + 1,
                      d.exponent < 0 ? '-' : '+', abs(d.exponent));
    } else if (point <= 0) {
        reid_str_addf(out, "0.%.*s%s", -point, "0000", d.digits);
    } else if ((size_t)point >= count) {
        reid_str_addf(out, "%s%.*s.0", d.digits, point - (int)count, "0000000000000000");
    } else {
        reid_str_addf(out, "%.*s.%s", point, d.digits, d.digits + point);
    }
}

void reid_event_text_add_double(reid_str *out, double value)
{
    if (isnan(value)) {
        reid_str_add(out, "NaN");
        return;
    }
    if (signbit(value))
        reid_str_add_char(out, '-');
    double size = fabs(value);
    if (isinf(size))
        reid_str_add(out, "Infinity");
    else if (size == 0)
        reid_str_add(out, "0.0");
    else
        add_finite(out, size);
}
