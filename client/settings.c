#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

reid_status reidctl_settings_parse(reidctl_settings *settings, char **words, int count,
                                   reid_error *err)
{
    settings->items = reid_xcalloc((size_t)count + 1, sizeof *settings->items);
    settings->pointers = reid_xcalloc((size_t)count + 1, sizeof *settings->pointers);
    for (int i = 0; i < count; i++) {
        Reid__V1__Setting *setting = &settings->items[i];
        char *equals = strchr(words[i], '=');
        if (equals == NULL || equals == words[i] || equals[1] == '\0')
            return reid_fail(err, REID_ERR_INVALID, "'%s' is not of the form NAME=VALUE", words[i]);
        *equals = '\0';
        reid__v1__setting__init(setting);
        setting->name = words[i];
        setting->value = equals + 1;
        settings->pointers[settings->count++] = setting;
    }
    return REID_OK;
}

void reidctl_settings_fini(reidctl_settings *settings)
{
    free(settings->items);
    free(settings->pointers);
    *settings = (reidctl_settings){0};
}
