/* What mpirun may ask another node's daemon to execute: orted, with parameters from a list, and
 * nothing else. Pure; both the head and the member check.
 *
 * The words are those of the agent's command line (`reidctl agent HOST orted -mca NAME VALUE …`):
 * mpirun writes the command with a leading space and quotes some values, as for a shell. Nothing
 * here goes through a shell: what is let through is rebuilt as an argument list, without quotes.
 *
 * "Only orted" is no boundary by itself: orted executes what its mpirun says. The boundary is that
 * the caller has the attempt's ticket (or is the head), that orted connects back to the head's own
 * address, and that it runs as the job's user.
 */
#ifndef REIDD_CLUSTER_PART_WORDS_H
#define REIDD_CLUSTER_PART_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Where mpirun may be reached: `host` is the head's address (IPv4) or, when `network` is given and
 * does not contain it, any address of that network ("10.77.0.0/24"; NULL: none). */
typedef struct reidd_part_origin {
    const char *host, *network;
} reidd_part_origin;

/* Whether the first word is orted. */
bool reidd_part_words_is_orted(const char *word);
/* The words after the first one. *ret_argv (NULL-terminated, without the program) is freed with
 * reidd_part_words_free. PERMISSION: a sentence that names the word. */
reid_status reidd_part_words_check(char *const *words, size_t count,
                                   const reidd_part_origin *origin, char ***ret_argv,
                                   reid_error *err);
void reidd_part_words_free(char **argv);

#endif
