/* Texts as Python writes them, for files that scripts around fast-reid read. Any thread. */
#ifndef REID_EVENTS_TEXT_H
#define REID_EVENTS_TEXT_H

#include "base/str.h"

/* As json.dumps(float): repr, the shortest digits that read back the same ("0.1", "1e-05", "1e+16",
 * "100.0"), or NaN, Infinity, -Infinity. */
void reid_event_text_add_double(reid_str *out, double value);
/* As json.dumps(str): in quotes, everything but printable ASCII escaped. The text must be valid
 * UTF-8. */
void reid_event_text_add_string(reid_str *out, const char *text);

#endif
