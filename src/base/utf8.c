#include "base/utf8.h"

#include "base/alloc.h"

size_t reid_utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    size_t length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool too_large = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : length;
}

bool reid_utf8_is_valid(const char *text)
{
    while (*text) {
        size_t length = reid_utf8_length(text);
        if (length == 0)
            return false;
        text += length;
    }
    return true;
}

char *reid_utf8_clean(const char *text)
{
    char *copy = reid_xstrdup(text ? text : "");
    for (size_t i = 0; copy[i];) {
        size_t length = reid_utf8_length(copy + i);
        if (length == 0)
            copy[i] = '?';
        i += length ? length : 1;
    }
    return copy;
}
