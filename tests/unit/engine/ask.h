/* A request of a person to the queue of rank 0. */
#ifndef ENGINE_TEST_ASK_H
#define ENGINE_TEST_ASK_H

#include "engine/control.h"

/* By alice; one setting, or none when `name` is NULL. */
void test_ask(reid_control_queue *queue, const char *id, const char *kind, int64_t at_iter,
              const char *name, const char *value);

#endif
