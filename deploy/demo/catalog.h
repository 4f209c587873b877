/* Which emoji there are, and who drew them.
 *
 * EmojiOne's index (config/index.json of ruby-gemojione) gives code points, file names and short
 * names; emojify.js names its files by the same short names; the font is asked by code points. */
#ifndef REID_DEMO_CATALOG_H
#define REID_DEMO_CATALOG_H

#include <stdbool.h>

#include "base/vec.h"
#include "font.h"

enum demo_maker { DEMO_NOTO, DEMO_EMOJIONE, DEMO_EMOJIFY, DEMO_MAKERS }; /* camera = maker + 1 */

typedef struct demo_emoji {
    char *code; /* "1F1E6-1F1E8": EmojiOne's file name, and the sort key */
    uint32_t sequence[DEMO_MAX_SEQUENCE];
    size_t length;
    char *emojione; /* path of a PNG, or NULL */
    char *emojify;  /* path of a PNG, or NULL */
} demo_emoji;

typedef struct demo_catalog {
    REID_VEC(demo_emoji) emoji; /* sorted by code */
    REID_VEC(uint32_t) others;  /* code points that only the font has, in order */
    demo_font *font;
} demo_catalog;

typedef struct demo_sources {
    const char *font;     /* NotoColorEmoji.ttf */
    const char *emojione; /* folder that holds config/index.json and assets/png */
    const char *emojify;  /* folder of PNGs */
} demo_sources;

reid_status demo_catalog_load(const demo_sources *sources, demo_catalog *ret_catalog,
                              reid_error *err);
void demo_catalog_fini(demo_catalog *catalog);

/* The pictures that exist (others have width 0); returns how many. Caller frees with
 * demo_picture_fini. */
reid_status demo_catalog_draw(demo_catalog *catalog, const demo_emoji *emoji,
                              demo_picture pictures[DEMO_MAKERS], int *ret_count, reid_error *err);

#endif
