/* MODEL.CONVOLUTION auto: which algorithm each convolution of the training takes.
 *
 * Rank 0 finds the table and all ranks take it over. A run that goes on takes that of its
 * checkpoint: the same bits. Otherwise it is the one kept for this machine under
 * $XDG_CACHE_HOME/reidd (~/.cache/reidd): one file for each CPU model, number of threads, oneDNN
 * version and set of shapes. Where there is none rank 0 measures, and keeps what it found; of two
 * runs that do so at the same time the first to write wins, and the other takes that over. So two
 * runs on one machine have the same bits as long as the file is there. Where nothing can be kept
 * the rule of shapes decides, for the same reason.
 */
#ifndef REID_TRAIN_CONVOLUTION_H
#define REID_TRAIN_CONVOLUTION_H

#include "train/session.h"
#include "train/state.h"

#define REID_CONVOLUTIONS_FILE "convolutions.txt" /* in a checkpoint */

/* Collective. Makes session->tuning and puts it into session->plan_options; needs the model and the
 * backend. `reader` as of reid_state_open. */
reid_status reid_session_choose_convolutions(reid_session *session, reid_state_reader *reader,
                                             reid_error *err);

#endif
