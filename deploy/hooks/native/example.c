/* A native hook: the exponential moving average of a metric, as a metric of its own.
 *
 *     reidctl hook add JOB example.so metric=total_loss decay=0.9
 *
 * puts total_loss_ema after each step. Build it without reidd's tree with
 *
 *     cc -std=c99 -shared -fPIC -I FOLDER_OF_reid_hook_abi.h -o example.so example.c */
#include "reid_hook_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ema {
    const reid_native_host *host;
    char metric[100], name[110];
    double decay;
    struct {
        double average;
        int64_t count; /* of values in it */
    } state;
} ema;

static int fail(char *message, size_t message_bytes, const char *what, const char *value)
{
    snprintf(message, message_bytes, "%s '%s'", what, value);
    return REID_NATIVE_ERROR;
}

static int set_option(ema *self, const reid_native_option *option, char *message,
                      size_t message_bytes)
{
    char *end;
    if (strcmp(option->name, "metric") == 0) {
        if (option->value[0] == '\0' || strlen(option->value) >= sizeof self->metric)
            return fail(message, message_bytes, "metric cannot be", option->value);
        snprintf(self->metric, sizeof self->metric, "%s", option->value);
        return REID_NATIVE_OK;
    }
    if (strcmp(option->name, "decay") == 0) {
        self->decay = strtod(option->value, &end);
        if (end == option->value || *end != '\0' || !(self->decay >= 0 && self->decay < 1))
            return fail(message, message_bytes, "decay must be in [0, 1), not", option->value);
        return REID_NATIVE_OK;
    }
    return fail(message, message_bytes, "this hook has the options metric and decay, not",
                option->name);
}

static int create(const reid_native_host *host, size_t option_count,
                  const reid_native_option *options, void **ret_self, char *message,
                  size_t message_bytes)
{
    ema *self = calloc(1, sizeof *self);
    if (!self)
        return fail(message, message_bytes, "no memory for", "example");
    self->host = host;
    self->decay = 0.9;
    snprintf(self->metric, sizeof self->metric, "total_loss");
    for (size_t i = 0; i < option_count; i++) {
        if (set_option(self, &options[i], message, message_bytes) != REID_NATIVE_OK) {
            free(self);
            return REID_NATIVE_ERROR;
        }
    }
    snprintf(self->name, sizeof self->name, "%s_ema", self->metric);
    *ret_self = self;
    return REID_NATIVE_OK;
}

static void destroy(void *self)
{
    free(self);
}

/* The first values weigh as much as they would in a long run (bias correction, as in Adam). */
static int after_step(void *user, const reid_native_moment *moment, char *message,
                      size_t message_bytes)
{
    ema *self = user;
    double value;
    int64_t iter;
    int code = self->host->get_scalar(self->host, self->metric, &value, &iter);
    if (code == REID_NATIVE_NONE || (code == REID_NATIVE_OK && iter != moment->iter))
        return REID_NATIVE_OK; /* nothing new: the step was skipped */
    if (code != REID_NATIVE_OK)
        return fail(message, message_bytes, "cannot read the metric", self->metric);
    self->state.average = self->decay * self->state.average + (1 - self->decay) * value;
    self->state.count++;
    double weight = 1, power = self->decay;
    for (int64_t n = self->state.count; n > 0; n /= 2) { /* weight = decay ^ count */
        if (n % 2)
            weight *= power;
        power *= power;
    }
    return self->host->put_scalar(self->host, self->name, self->state.average / (1 - weight));
}

static int save_state(void *user, const void **ret_data, size_t *ret_size, char *message,
                      size_t message_bytes)
{
    ema *self = user;
    (void)message, (void)message_bytes;
    *ret_data = &self->state;
    *ret_size = sizeof self->state;
    return REID_NATIVE_OK;
}

static int load_state(void *user, const void *data, size_t size, char *message,
                      size_t message_bytes)
{
    ema *self = user;
    if (size != sizeof self->state)
        return fail(message, message_bytes, "this is not the state of", "example");
    memcpy(&self->state, data, size);
    return REID_NATIVE_OK;
}

REID_NATIVE_EXPORT const reid_native_hook reid_native_hook_table = {
    .magic = REID_NATIVE_MAGIC,
    .abi_version = REID_NATIVE_ABI_VERSION,
    .size = sizeof(reid_native_hook),
    .name = "example",
    .create = create,
    .after_step = after_step,
    .save_state = save_state,
    .load_state = load_state,
    .destroy = destroy,
};
