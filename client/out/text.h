/* Text for terminals: what comes from a job or a peer is made harmless, and widths are counted in
 * cells, not bytes. Text is UTF-8. */
#ifndef REIDCTL_OUT_TEXT_H
#define REIDCTL_OUT_TEXT_H

#include <stddef.h>

#include "base/str.h"

/* Appends `text` so that it can neither move the cursor nor change the terminal: tabs and line
 * breaks become spaces; other control characters (C0, C1), bytes that are not UTF-8 and characters
 * that turn the direction of writing become '?'. */
void reidctl_add_clean(reid_str *out, const char *text);

/* The same for a piece of a log: line breaks and tabs stay, and so do colours (ESC [ … m). */
void reidctl_add_clean_log(reid_str *out, const char *text, size_t length);

/* Cells that clean text takes: 0 for combining characters and for colours (ESC [ … m), 2 for wide
 * ones. */
size_t reidctl_text_width(const char *text);

/* Appends clean text cut to `width` cells, with "…" in the last one when something is missing.
 * Colours are kept. */
void reidctl_add_cut(reid_str *out, const char *text, size_t width);

/* Appends spaces until `width` cells after `used` are filled. */
void reidctl_add_pad(reid_str *out, size_t used, size_t width);

#endif
