#include "out/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#define BAD UINT32_MAX

typedef struct range {
    uint32_t first, last;
} range;

/* Characters without a cell of their own: combining marks, joiners, variation selectors. */
static const range narrow[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},   {0x0610, 0x061a},   {0x064b, 0x065f},
    {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d},   {0x20d0, 0x20ff},   {0xfe00, 0xfe0f},
    {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0000, 0xe007f}, {0xe0100, 0xe01ef},
};

/* Two cells: East Asian Wide and Fullwidth (Unicode, annex 11), in whole blocks. */
static const range wide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97c},
    {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff01, 0xff60},
    {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
    {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
};

/* Marks and overrides of the direction of writing, line and paragraph separators. */
static const range misleading[] = {
    {0x061c, 0x061c}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

static bool is_in(const range *ranges, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(ranges, c) is_in(ranges, REID_COUNT_OF(ranges), c)

/* The character at `text` and its bytes (at least 1); BAD when they are not UTF-8 (RFC 3629). */
static uint32_t next_char(const char *text, size_t left, size_t *ret_bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *ret_bytes = 1;
    if (p[0] < 0x80)
        return p[0];
    size_t bytes = p[0] >= 0xf0 && p[0] < 0xf8 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
    if (bytes == 0 || bytes > left || p[0] >= 0xf8)
        return BAD;
    uint32_t c = p[0] & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return BAD;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[bytes] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return BAD;
    *ret_bytes = bytes;
    return c;
}

/* Bytes of a colour sequence, ESC [ digits and semicolons m; 0 when there is none. */
static size_t color_bytes(const char *text, size_t left)
{
    if (left < 3 || text[0] != '\033' || text[1] != '[')
        return 0;
    size_t at = 2;
    while (at < left && ((text[at] >= '0' && text[at] <= '9') || text[at] == ';'))
        at++;
    return at < left && text[at] == 'm' ? at + 1 : 0;
}

static bool is_harmful(uint32_t c)
{
    return c == BAD || c < 0x20 || (c >= 0x7f && c <= 0x9f) || IS_IN(misleading, c);
}

void reidctl_add_clean(reid_str *out, const char *text)
{
    size_t left = strlen(text), bytes;
    for (; left > 0; text += bytes, left -= bytes) {
        uint32_t c = next_char(text, left, &bytes);
        if (c == '\n' || c == '\t' || c == '\r')
            reid_str_add_char(out, ' ');
        else if (is_harmful(c))
            reid_str_add_char(out, '?');
        else
            reid_str_add_bytes(out, text, bytes);
    }
}

void reidctl_add_clean_log(reid_str *out, const char *text, size_t length)
{
    size_t bytes;
    for (; length > 0; text += bytes, length -= bytes) {
        uint32_t c = next_char(text, length, &bytes);
        size_t color = color_bytes(text, length);
        if (color > 0)
            bytes = color;
        if (color == 0 && c != '\n' && c != '\t' && c != '\r' && is_harmful(c))
            reid_str_add_char(out, '?');
        else
            reid_str_add_bytes(out, text, bytes);
    }
}

/* Cells and bytes of what stands at `text`: a character or a colour sequence. */
static size_t cell_width(const char *text, size_t left, size_t *ret_bytes)
{
    size_t color = color_bytes(text, left);
    uint32_t c = next_char(text, left, ret_bytes);
    if (color > 0)
        *ret_bytes = color;
    if (color > 0 || IS_IN(narrow, c))
        return 0;
    return IS_IN(wide, c) ? 2 : 1;
}

size_t reidctl_text_width(const char *text)
{
    size_t width = 0, left = strlen(text), bytes;
    for (; left > 0; text += bytes, left -= bytes)
        width += cell_width(text, left, &bytes);
    return width;
}

void reidctl_add_cut(reid_str *out, const char *text, size_t width)
{
    size_t left = strlen(text), used = 0, bytes;
    bool cut = reidctl_text_width(text) > width, full = false;
    size_t room = cut && width > 0 ? width - 1 : width;
    for (; left > 0; text += bytes, left -= bytes) {
        size_t cells = cell_width(text, left, &bytes);
        bool is_color = *text == '\033';
        full = full || used + cells > room;
        if (full && !is_color)
            continue; /* later colours still count: the last one ends them all */
        reid_str_add_bytes(out, text, bytes);
        used += cells;
    }
    if (cut && width > 0)
        reid_str_add(out, "…");
}

void reidctl_add_pad(reid_str *out, size_t used, size_t width)
{
    for (; used < width; used++)
        reid_str_add_char(out, ' ');
}
