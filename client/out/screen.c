#include "out/screen.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/compiler.h"
#include "out/text.h"

#define MIN_COLUMNS 20

void reidctl_screen_fini(reidctl_screen *screen)
{
    reid_vec_fini(&screen->widths);
}

void reidctl_screen_leave(reidctl_screen *screen)
{
    screen->widths.count = 0;
}

void reidctl_screen_size(size_t *ret_columns, size_t *ret_lines)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    *ret_columns = known ? REID_MAX(size.ws_col, MIN_COLUMNS) : 80;
    *ret_lines = known && size.ws_row > 0 ? size.ws_row : 24;
}

/* Lines that the picture takes now: terminals that have become narrower break longer lines anew. */
static size_t height(const reidctl_screen *screen, size_t columns)
{
    size_t lines = 0;
    for (size_t i = 0; i < screen->widths.count; i++) {
        size_t width = screen->widths.items[i];
        bool broken = columns < screen->columns && width > columns;
        lines += broken ? (width + columns - 1) / columns : 1;
    }
    return lines;
}

void reidctl_screen_draw(reidctl_screen *screen, const char *picture, size_t columns, reid_str *out)
{
    size_t up = height(screen, columns);
    screen->columns = columns;
    screen->widths.count = 0;
    reid_str_add(out, "\r");
    if (up > 0)
        reid_str_addf(out, "\033[%zuA", up);
    /* Automatic wrapping is off meanwhile: a character that the terminal takes for wider than it is
     * known to be must not make a line of two. Each line is cleared behind its text only, so that
     * nothing flickers. */
    reid_str_add(out, "\033[?7l");
    for (const char *end; (end = strchr(picture, '\n')) != NULL; picture = end + 1) {
        char *line = reid_xstrndup(picture, (size_t)(end - picture));
        reid_vec_push(&screen->widths, reidctl_text_width(line));
        reid_str_addf(out, "%s\033[K\n", line);
        free(line);
    }
    reid_str_add(out, "\033[J\033[?7h");
}
