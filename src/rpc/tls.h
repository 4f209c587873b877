/* Who this process is over TCP, and whom it believes: certificate, key and authority of mutual TLS.
 *
 * Life: reid_rpc_tls_new reads the folder's files → listeners, channels and clients are given it
 * and keep a reference of their own → reid_rpc_tls_free. One identity serves any number of them,
 * in any threads.
 *
 * The files are looked at again when a connection is made, at most once a second: renewed
 * certificates and a new list of revoked ones count from then on, without a restart. Files that
 * cannot be used any more are told in the log, and the old ones go on to count. Of connections that
 * stand both sides look each second whether they would still believe the peer: one whose
 * certificate has ended, was revoked, or is not of the authority any more is cut off.
 *
 * The folder (made by `reidctl ca`), all PEM:
 *     ca.pem    certificates of the authority
 *     cert.pem  own certificate: CN = name of the node or user, OU = role
 *     key.pem   its key; may be read by its owner only, or the folder is refused
 *     crl.pem   certificates that the authority has revoked; may be missing
 *
 * On the wire: TLS 1.3, ALPN h2, certificates from both sides, no session tickets, no early data. A
 * peer is believed when the authority signed its certificate, it is valid today, it may be used for
 * that side of a connection, and has a name and a known role. Of a server a client asks more: the
 * role "node", and the host name or address that it connected to among the subject's alternative
 * names.
 */
#ifndef REID_RPC_TLS_H
#define REID_RPC_TLS_H

#include <stdint.h>

#include "base/status.h"

typedef struct reid_rpc_tls reid_rpc_tls;

/* INVALID: a file is not what it should be, the key is not the certificate's, the certificate is
 * not of the authority, has expired, or has no name or known role. PERMISSION: others can read the
 * key. */
reid_status reid_rpc_tls_new(const char *dir, reid_rpc_tls **ret_tls, reid_error *err);
reid_rpc_tls *reid_rpc_tls_ref(reid_rpc_tls *tls); /* one more reference; NULL is accepted */
void reid_rpc_tls_free(reid_rpc_tls *tls);         /* drops one reference; NULL is accepted */

const char *reid_rpc_tls_name(const reid_rpc_tls *tls); /* of the own certificate */
const char *reid_rpc_tls_role(const reid_rpc_tls *tls);
int64_t reid_rpc_tls_until_s(reid_rpc_tls *tls); /* Unix time that it ends at */

/* Of nodes' certificates that end sooner it is warned. */
enum { REID_RPC_WARN_DAYS = 14 };

#endif
