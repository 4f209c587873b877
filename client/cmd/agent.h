/* `reidctl agent HOST orted -mca NAME VALUE …`: what mpirun starts in the place of ssh
 * (plm_rsh_agent). Not for people.
 *
 * It asks the daemon of this node to have orted started on HOST and lives as long as that part of
 * the job: its exit status is orted's, and its death is the part's end. When the daemon is started
 * again it goes on with it. From its environment: REIDD_LINK, REIDD_JOB, REIDD_ATTEMPT,
 * REIDD_TICKET, which the job's supervisor has left there.
 */
#ifndef REIDCTL_CMD_AGENT_H
#define REIDCTL_CMD_AGENT_H

/* The words after "agent". Returns the exit status; 255 when the part could not be started. */
int reidctl_agent(int word_count, char **words);

#endif
