/* Where reidd keeps its state and listens when nobody says otherwise: one rule for daemon and
 * client. Thread-safe as far as the environment is left alone. */
#ifndef REID_BASE_PLACE_H
#define REID_BASE_PLACE_H

/* The state folder, absolute: `option` (--state-dir), else $REIDD_STATE_DIR, else /var/lib/reidd
 * for root, else $XDG_STATE_HOME/reidd, else ~/.local/state/reidd. NULL and "" mean "not given".
 * Caller frees. */
char *reid_place_state_dir(const char *option);

/* The public socket as an address, "unix:/path": `option` (--socket, -H), else $REIDD_HOST, else
 * /run/reidd/reidd.sock for root, else $XDG_RUNTIME_DIR/reidd/reidd.sock, else reidd.sock in the
 * state folder (reid_place_state_dir(state_dir_option)). A path with a '/' stands for itself with
 * "unix:" before it; any other text is returned as it is, for reid_rpc_address_init to judge.
 * Caller frees. */
char *reid_place_address(const char *option, const char *state_dir_option);

#endif
