/* What a checkpoint holds, and how a session comes back from it.
 *
 *   model.safetensors      parameters and running statistics of rank 0, PyTorch's names and layouts
 *   optimizer.safetensors  "<state>.<parameter>", such as exp_avg.backbone.conv1.weight
 *   state.json             iteration, seed, optimizer steps
 *   trainer.json           the trainer's and the hooks' states
 *   events.bin             the EventStorage, exact to the bit
 *   config.yaml            the configuration
 *   convolutions.txt       under MODEL.CONVOLUTION auto: the algorithm of each convolution
 *
 * Rank 0 reads and writes; the others get the state over the communicator. Together with the
 * counter-based random numbers it makes a resumed run give the same bits as one that was never
 * stopped.
 */
#ifndef REID_TRAIN_STATE_H
#define REID_TRAIN_STATE_H

#include "train/session.h"

#define REID_STATE_FILE "state.json"
#define REID_TRAINER_FILE "trainer.json"
#define REID_CONFIG_FILE "config.yaml"

/* Collective in nothing: does its work on rank 0. `last`: the checkpoint to resume from. */
reid_status reid_state_save(reid_session *session, const char *name, bool last, reid_error *err);

/* What is needed before data and trainer are made; from rank 0's checkpoint, the same on all ranks.
 */
typedef struct reid_resume_point {
    bool found;
    int64_t iteration;
    uint64_t seed;
} reid_resume_point;

typedef struct reid_state_reader
    reid_state_reader; /* the checkpoint being read; NULL where there is none */

/* Collective. For a session that goes on from a checkpoint opens its start_path, else OUTPUT_DIR's
 * last one; PRECONDITION when there is none. */
reid_status reid_state_open(reid_session *session, reid_state_reader **ret_reader,
                            reid_resume_point *ret_point, reid_error *err);
/* Collective. Parameters, statistics and optimizer state: from the checkpoint, else from
 * MODEL.WEIGHTS over what the initialisation gave; then rank 0's are everybody's. */
reid_status reid_state_load_network(reid_session *session, reid_state_reader *reader,
                                    reid_error *err);
/* Collective. The trainer, its hooks and the EventStorage. Returns the iteration to start from. */
reid_status reid_state_load_trainer(reid_session *session, reid_state_reader *reader,
                                    int64_t *ret_iteration, reid_error *err);
/* A text of the checkpoint on rank 0; NULL elsewhere and where there is none. Caller frees. */
char *reid_state_text(const reid_state_reader *reader, const char *file);
void reid_state_close(reid_state_reader *reader);

#endif
