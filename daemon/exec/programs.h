/* Where the other programs are: beside this one, else in PATH. */
#ifndef REIDD_EXEC_PROGRAMS_H
#define REIDD_EXEC_PROGRAMS_H

#include "base/status.h"

/* An absolute path; caller frees. NOT_FOUND when there is no such program. */
reid_status reidd_program_find(const char *name, char **ret_path, reid_error *err);

#endif
