/* Images of a loader's batches on their way into a plan: floats, or bytes that the backend makes
 * floats of, where the loader gives them.
 *
 * Life: reid_upload_new → reid_upload_images for each batch → reid_upload_free, before plan and
 * backend. Threads: that of the plan.
 */
#ifndef REID_ENGINE_UPLOAD_H
#define REID_ENGINE_UPLOAD_H

#include "data/loader.h"
#include "nn/plan.h"

typedef struct reid_upload reid_upload;

/* images: that input of the plan, [N,3,H,W]. backend may be NULL when no loader gives bytes. */
reid_upload *reid_upload_new(reid_backend *backend, reid_plan *plan, reid_value images);
void reid_upload_free(reid_upload *upload); /* NULL is fine */

/* Whether this backend should be given bytes: a device that takes them, for they are a quarter of
 * what floats are, and the host need not make floats. */
bool reid_upload_wants_bytes(const reid_backend *backend);

/* The batch of `loader`, of the plan's N images. */
reid_status reid_upload_images(reid_upload *upload, const reid_loader *loader,
                               const reid_batch *batch, reid_error *err);

#endif
