/* NAME=VALUE words as settings of a request. */
#ifndef REIDCTL_SETTINGS_H
#define REIDCTL_SETTINGS_H

#include <stddef.h>

#include "base/status.h"
#include "reid/v1/control.pb-c.h"

typedef struct reidctl_settings {
    Reid__V1__Setting **pointers; /* for the request */
    size_t count;
    Reid__V1__Setting *items;
} reidctl_settings;

/* The words are cut, and pointed into. INVALID when one is not of this form; _fini in any case. */
reid_status reidctl_settings_parse(reidctl_settings *settings, char **words, int count,
                                   reid_error *err);
void reidctl_settings_fini(reidctl_settings *settings);

#endif
