/* What a session needs where its backend computes on a device of its own (a GPU): which device is
 * this rank's, the communicator for its gradients, and waits.
 *
 * The host runs ahead of the device: a step queues work and waits only for the losses. So before
 * anything that the device has computed is saved or shown, reid_session_settle.
 */
#ifndef REID_TRAIN_DEVICE_H
#define REID_TRAIN_DEVICE_H

#include "train/session.h"

/* MODEL.BACKEND; "cuda" becomes this rank's GPU: that of its number among the ranks of its node,
 * counted among the GPUs that CUDA_VISIBLE_DEVICES leaves visible. Where it leaves one, and there
 * are more ranks, the launcher has given each rank its own. With MODEL.CUDA.NUMA the rank stays on
 * the cores beside it. */
reid_status reid_session_open_backend(reid_session *session, int threads, reid_error *err);

/* Collective. The device communicator of several ranks on devices; nothing is made elsewhere. */
reid_status reid_session_open_device_comm(reid_session *session, reid_error *err);
/* The one for gradients. */
reid_comm *reid_session_gradient_comm(const reid_session *session);

/* Until the device has done what is queued, and done it well. */
reid_status reid_session_settle(reid_session *session, reid_error *err);

/* Collective. PRECONDITION, naming ranks, when the parameters are not the same to the last bit on
 * all ranks: they began so, and every update was the same. */
reid_status reid_session_compare_ranks(reid_session *session, reid_error *err);

/* INVALID for a COMM.COMPRESSION that MODEL.BACKEND has no use for. */
reid_status reid_session_check_compression(const reid_config *config, reid_error *err);

#endif
