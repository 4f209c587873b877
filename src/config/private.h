/* What the files of this folder share. */
#ifndef REID_CONFIG_PRIVATE_H
#define REID_CONFIG_PRIVATE_H

#include "config/config.h"
#include "config/value.h"

struct reid_config {
    reid_value *values; /* one per row, in the order of the table */
};

/* An unknown key is a programmer's error. */
const reid_value *reid_config_value(const reid_config *config, const char *key);

#endif
