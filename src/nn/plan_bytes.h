/* Images of a batch handed to a plan as bytes: the backend augments and normalises them on their
 * way into the plan. For backends with reid_backend_takes_bytes. */
#ifndef REID_NN_PLAN_BYTES_H
#define REID_NN_PLAN_BYTES_H

#include "nn/plan.h"

/* Device memory that an upload needs for `input`, images [N,3,H,W] of the plan. */
size_t reid_plan_bytes_space(const reid_plan *plan, reid_value input);

/* Instead of reid_plan_upload: planes [N,3,H,W] and choices [N] on the host, space of
 * reid_plan_bytes_space on the device, free again for the next upload. The rule's height and width
 * are the input's. */
reid_status reid_plan_upload_bytes(reid_plan *plan, reid_value input, const reid_image_rule *rule,
                                   const uint8_t *planes, const reid_image_choice *choices,
                                   void *space, reid_error *err);

#endif
