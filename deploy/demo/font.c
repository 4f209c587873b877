#include "font.h"

#include <stdlib.h>
#include <string.h>

#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_TRUETYPE_TABLES_H
#include FT_TRUETYPE_TAGS_H

#include "base/alloc.h"

#define LOOKUP_LIGATURE 4
#define LOOKUP_EXTENSION 7
#define GSUB_LIMIT (16u << 20)

struct demo_font {
    FT_Library library;
    FT_Face face;
    uint8_t *gsub; /* the whole table */
    size_t gsub_size;
};

reid_status demo_font_open(const char *path, demo_font **ret_font, reid_error *err)
{
    demo_font *font = reid_xcalloc(1, sizeof *font);
    if (FT_Init_FreeType(&font->library) != 0 ||
        FT_New_Face(font->library, path, 0, &font->face) != 0) {
        demo_font_free(font);
        return reid_fail(err, REID_ERR_IO, "cannot open the font '%s'", path);
    }
    if (!FT_HAS_COLOR(font->face) || font->face->num_fixed_sizes < 1 ||
        FT_Select_Size(font->face, 0) != 0) {
        demo_font_free(font);
        return reid_fail(err, REID_ERR_UNSUPPORTED, "the font '%s' has no colour bitmaps", path);
    }
    FT_ULong size = 0;
    if (FT_Load_Sfnt_Table(font->face, TTAG_GSUB, 0, NULL, &size) == 0 && size <= GSUB_LIMIT) {
        font->gsub = reid_xmalloc(size);
        font->gsub_size =
            FT_Load_Sfnt_Table(font->face, TTAG_GSUB, 0, font->gsub, &size) == 0 ? size : 0;
    }
    *ret_font = font;
    return REID_OK;
}

void demo_font_free(demo_font *font)
{
    if (!font)
        return;
    free(font->gsub);
    if (font->face)
        FT_Done_Face(font->face);
    if (font->library)
        FT_Done_FreeType(font->library);
    free(font);
}

/* Big-endian numbers of the table; 0 beyond its end. */
static uint32_t u16_at(const demo_font *font, size_t at)
{
    return at + 2 <= font->gsub_size ? (uint32_t)font->gsub[at] << 8 | font->gsub[at + 1] : 0;
}

static uint32_t u32_at(const demo_font *font, size_t at)
{
    return u16_at(font, at) << 16 | u16_at(font, at + 2);
}

/* Index of a glyph in a coverage table; -1 when it is not covered. */
static int coverage_index(const demo_font *font, size_t table, uint32_t glyph)
{
    uint32_t format = u16_at(font, table), count = u16_at(font, table + 2);
    for (uint32_t i = 0; i < count; i++) {
        if (format == 1 && u16_at(font, table + 4 + 2 * i) == glyph)
            return (int)i;
        size_t range = table + 4 + 6 * (size_t)i;
        if (format == 2 && glyph >= u16_at(font, range) && glyph <= u16_at(font, range + 2))
            return (int)(u16_at(font, range + 4) + glyph - u16_at(font, range));
    }
    return -1;
}

/* The first ligature of a set that begins at glyphs[0]; returns how many glyphs it takes, 0 when
 * there is none. */
static size_t match_ligature(const demo_font *font, size_t set, const uint32_t *glyphs,
                             size_t count, uint32_t *ret_glyph)
{
    uint32_t ligatures = u16_at(font, set);
    for (uint32_t i = 0; i < ligatures; i++) {
        size_t ligature = set + u16_at(font, set + 2 + 2 * i), parts = u16_at(font, ligature + 2),
               same = 1;
        if (parts == 0 || parts > count)
            continue;
        while (same < parts && u16_at(font, ligature + 4 + 2 * (same - 1)) == glyphs[same])
            same++;
        if (same == parts) {
            *ret_glyph = u16_at(font, ligature);
            return parts;
        }
    }
    return 0;
}

/* One subtable over the whole sequence; returns its new length. */
static size_t apply_subtable(const demo_font *font, size_t table, uint32_t *glyphs, size_t count)
{
    if (u16_at(font, table) != 1)
        return count;
    size_t coverage = table + u16_at(font, table + 2);
    for (size_t at = 0; at < count; at++) {
        int index = coverage_index(font, coverage, glyphs[at]);
        if (index < 0 || (uint32_t)index >= u16_at(font, table + 4))
            continue;
        size_t set = table + u16_at(font, table + 6 + 2 * (size_t)index);
        uint32_t glyph;
        size_t taken = match_ligature(font, set, glyphs + at, count - at, &glyph);
        if (taken == 0)
            continue;
        glyphs[at] = glyph;
        memmove(glyphs + at + 1, glyphs + at + taken, (count - at - taken) * sizeof *glyphs);
        count -= taken - 1;
    }
    return count;
}

static size_t apply_ligatures(const demo_font *font, uint32_t *glyphs, size_t count)
{
    size_t list = u16_at(font, 8); /* offset of the lookup list in the header */
    uint32_t lookups = list ? u16_at(font, list) : 0;
    for (uint32_t i = 0; i < lookups && count > 1; i++) {
        size_t lookup = list + u16_at(font, list + 2 + 2 * i);
        uint32_t type = u16_at(font, lookup), subtables = u16_at(font, lookup + 4);
        for (uint32_t k = 0; k < subtables; k++) {
            size_t table = lookup + u16_at(font, lookup + 6 + 2 * k);
            uint32_t kind = type;
            if (type == LOOKUP_EXTENSION) {
                kind = u16_at(font, table + 2);
                table += u32_at(font, table + 4);
            }
            if (kind == LOOKUP_LIGATURE)
                count = apply_subtable(font, table, glyphs, count);
        }
    }
    return count;
}

static void copy_bitmap(const FT_Bitmap *bitmap, demo_picture *ret_picture)
{
    demo_picture picture = {.width = (int)bitmap->width, .height = (int)bitmap->rows};
    picture.rgba = reid_xmalloc((size_t)bitmap->width * bitmap->rows * 4);
    for (int y = 0; y < picture.height; y++) {
        const uint8_t *from = bitmap->buffer + (ptrdiff_t)y * bitmap->pitch;
        uint8_t *to = picture.rgba + (size_t)y * bitmap->width * 4;
        for (int x = 0; x < picture.width; x++, from += 4, to += 4) {
            to[0] = from[2]; /* FreeType gives BGRA, premultiplied */
            to[1] = from[1];
            to[2] = from[0];
            to[3] = from[3];
        }
    }
    *ret_picture = picture;
}

reid_status demo_font_draw(demo_font *font, const uint32_t *sequence, size_t length,
                           demo_picture *ret_picture, reid_error *err)
{
    uint32_t glyphs[DEMO_MAX_SEQUENCE];
    *ret_picture = (demo_picture){0};
    if (length == 0 || length > DEMO_MAX_SEQUENCE)
        return REID_OK;
    for (size_t i = 0; i < length; i++) {
        glyphs[i] = FT_Get_Char_Index(font->face, sequence[i]);
        if (glyphs[i] == 0)
            return REID_OK;
    }
    if (length > 1 && apply_ligatures(font, glyphs, length) != 1)
        return REID_OK;
    if (FT_Load_Glyph(font->face, glyphs[0], FT_LOAD_COLOR) != 0)
        return REID_OK;
    const FT_Bitmap *bitmap = &font->face->glyph->bitmap;
    if (bitmap->pixel_mode != FT_PIXEL_MODE_BGRA || bitmap->width == 0 || bitmap->rows == 0)
        return REID_OK;
    copy_bitmap(bitmap, ret_picture);
    return REID_OK;
}

uint32_t demo_font_next(demo_font *font, uint32_t after)
{
    FT_UInt glyph;
    return (uint32_t)FT_Get_Next_Char(font->face, after, &glyph);
}
