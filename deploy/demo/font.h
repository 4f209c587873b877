/* Pictures from a colour font with bitmaps (CBDT), through FreeType: the only file that knows it.
 *
 * Sequences of code points (flags, keycaps, skin tones, families) are one glyph by the font's
 * ligatures: the lookups of type 4 of its GSUB table are applied in their order (OpenType 1.9,
 * "GSUB"). */
#ifndef REID_DEMO_FONT_H
#define REID_DEMO_FONT_H

#include "picture.h"

#define DEMO_MAX_SEQUENCE 16

typedef struct demo_font demo_font;
reid_status demo_font_open(const char *path, demo_font **ret_font, reid_error *err);
void demo_font_free(demo_font *font);

/* width 0 when the font has no single picture for the sequence. */
reid_status demo_font_draw(demo_font *font, const uint32_t *sequence, size_t length,
                           demo_picture *ret_picture, reid_error *err);
/* The code point after `after` that the font has; 0 at the end. */
uint32_t demo_font_next(demo_font *font, uint32_t after);

#endif
