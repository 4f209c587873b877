#include "rpc/secure.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "rpc/tls_impl.h"

/* A peer may ask for new keys so often, and once more for so many bytes. */
enum { FREE_NEW_KEYS = 16, NEW_KEYS_BYTES = 1 << 20 };
enum { KEPT_BYTES = 4 * 1024 }; /* an empty buffer that is larger is given back */

static const unsigned char alpn[] = {2, 'h', '2'};

/* ---- bytes, as the library wants them ---- */

static int bio_read(BIO *bio, char *buffer, int size)
{
    reid_rpc_secure *secure = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (secure->flooding)
        return -1;
    if (secure->in_bytes == 0 || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = REID_MIN((size_t)size, secure->in_bytes);
    memcpy(buffer, secure->in, n);
    secure->in += n;
    secure->in_bytes -= n;
    secure->taken_bytes += n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    reid_rpc_secure *secure = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    size_t needed = secure->out_bytes + (size_t)size;
    if (needed > secure->out_capacity) {
        secure->out_capacity = REID_MAX(needed, REID_MIN(2 * secure->out_capacity, needed + 65536));
        secure->out = reid_xrealloc(secure->out, secure->out_capacity);
    }
    memcpy(secure->out + secure->out_bytes, bytes, (size_t)size);
    secure->out_bytes = needed;
    return size;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *reid_rpc_secure_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "reid");
    if (!method)
        return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
}

void reid_rpc_secure_sent(reid_rpc_secure *secure, size_t size)
{
    secure->out_sent += size;
    if (secure->out_sent < secure->out_bytes)
        return;
    secure->out_bytes = secure->out_sent = 0;
    if (secure->out_capacity <= KEPT_BYTES)
        return;
    free(secure->out);
    secure->out = NULL;
    secure->out_capacity = 0;
}

void reid_rpc_secure_give(reid_rpc_secure *secure, const uint8_t *bytes, size_t size)
{
    secure->in = bytes;
    secure->in_bytes = size;
}

/* ---- what is asked of a peer ---- */

/* The first sentence stays: what follows it is its consequence. */
static void say(reid_rpc_secure *secure, const char *sentence)
{
    if (secure->why[0] == '\0')
        snprintf(secure->why, sizeof secure->why, "%.*s", (int)sizeof secure->why - 1, sentence);
}

static void say_refusal(reid_rpc_secure *secure, int error)
{
    char text[sizeof secure->why];
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(text, sizeof text, "its certificate is not for '%.100s'", secure->host);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(text, sizeof text, "its certificate is not of the authority in ca.pem");
        break;
    case X509_V_ERR_INVALID_PURPOSE:
        snprintf(text, sizeof text, "its certificate is not one for a %s",
                 secure->host ? "server" : "client");
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(text, sizeof text, "its certificate has expired");
        break;
    case X509_V_ERR_CERT_REVOKED:
        snprintf(text, sizeof text, "its certificate was revoked");
        break;
    default:
        snprintf(text, sizeof text, "its certificate was refused: %s",
                 X509_verify_cert_error_string(error));
    }
    say(secure, text);
}

static int verify(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    reid_rpc_secure *secure = SSL_get_app_data(ssl);
    if (!good) {
        say_refusal(secure, X509_STORE_CTX_get_error(store));
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(store) > 0)
        return 1;
    reid_error err = {0};
    if (reid_rpc_tls_read_subject(X509_STORE_CTX_get_current_cert(store), &secure->peer, &err) !=
        REID_OK) {
        say(secure, err.text);
    } else if (secure->host && strcmp(secure->peer.role, "node") != 0) {
        say(secure, "its certificate is not that of a node");
    } else {
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static int choose_protocol(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_length,
                           const unsigned char *offered, unsigned int offered_bytes, void *user)
{
    for (unsigned int i = 0; i + sizeof alpn <= offered_bytes; i += 1u + offered[i])
        if (memcmp(offered + i, alpn, sizeof alpn) == 0) {
            *ret_chosen = offered + i + 1;
            *ret_length = offered[i];
            return SSL_TLSEXT_ERR_OK;
        }
    say(SSL_get_app_data(ssl), "it does not ask for HTTP/2 (ALPN h2)");
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* New keys are some work, and cost whoever asks for them next to nothing. */
static void count_new_keys(int writing, int version, int type, const void *message, size_t size,
                           SSL *ssl, void *user)
{
    reid_rpc_secure *secure = SSL_get_app_data(ssl);
    if (writing || type != SSL3_RT_HANDSHAKE || size == 0 ||
        *(const uint8_t *)message != SSL3_MT_KEY_UPDATE)
        return;
    if (++secure->new_keys <= FREE_NEW_KEYS + secure->taken_bytes / NEW_KEYS_BYTES)
        return;
    say(secure, "it asks for new keys too often");
    secure->flooding = true;
}

void reid_rpc_secure_configure(SSL_CTX *context)
{
    SSL_CTX_set_msg_callback(context, count_new_keys);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
}

/* ---- life ---- */

/* The name or address that the server's certificate must have. */
static bool expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    struct in6_addr ignored;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static bool set_up(reid_rpc_secure *secure)
{
    BIO *bio = BIO_new(secure->tls->method);
    if (!bio)
        return false;
    BIO_set_data(bio, secure);
    BIO_set_init(bio, 1);
    SSL_set_bio(secure->ssl, bio, bio);
    if (!secure->host) {
        SSL_set_accept_state(secure->ssl);
        return true;
    }
    SSL_set_connect_state(secure->ssl);
    return SSL_set_alpn_protos(secure->ssl, alpn, sizeof alpn) == 0 &&
           expect_host(secure->ssl, secure->host);
}

reid_rpc_secure *reid_rpc_secure_new(reid_rpc_tls *tls, const char *host)
{
    reid_rpc_secure *secure = reid_xcalloc(1, sizeof *secure);
    secure->tls = reid_rpc_tls_ref(tls);
    secure->host = host ? reid_xstrdup(host) : NULL;
    secure->peer = (reid_rpc_peer){.uid = (uid_t)-1, .gid = (gid_t)-1, .remote = true};
    SSL_CTX *context = reid_rpc_tls_context(tls, &secure->generation);
    secure->ssl = SSL_new(context);
    SSL_CTX_free(context);
    if (secure->ssl)
        SSL_set_app_data(secure->ssl, secure);
    if (!secure->ssl || !set_up(secure)) {
        ERR_clear_error();
        reid_rpc_secure_free(secure);
        return NULL;
    }
    return secure;
}

void reid_rpc_secure_free(reid_rpc_secure *secure)
{
    if (!secure)
        return;
    SSL_free(secure->ssl);
    reid_rpc_tls_free(secure->tls);
    free(secure->host);
    free(secure->out);
    free(secure);
}

/* ---- failures ---- */

/* What the library's error means for whoever reads it. An alert is the peer's word about us. */
static const char *phrase_of(int reason)
{
    static const struct {
        int reason;
        const char *phrase;
    } phrases[] = {
        {SSL_R_HTTP_REQUEST, "it speaks plain HTTP, but TLS is needed here"},
        {SSL_R_WRONG_VERSION_NUMBER, "it does not speak TLS"},
        {SSL_R_UNKNOWN_PROTOCOL, "it does not speak TLS"},
        {SSL_R_PACKET_LENGTH_TOO_LONG, "it does not speak TLS"},
        {SSL_R_UNSUPPORTED_PROTOCOL, "it does not speak TLS 1.3"},
        {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "it does not speak TLS 1.3"},
        {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "it has shown no certificate"},
        {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "it wants to see a certificate"},
        {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "it does not know the authority of our certificate"},
        {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "it says that our certificate has expired"},
        {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "it says that our certificate was revoked"},
        {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "it refuses our certificate"},
        {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "it refuses our certificate"},
        {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "it refuses our certificate for this use"},
        {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "it refuses our certificate"},
        {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "it does not offer HTTP/2 (ALPN h2)"},
        {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "it refuses the TLS handshake"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(phrases); i++)
        if (phrases[i].reason == reason)
            return phrases[i].phrase;
    return NULL;
}

static int fail(reid_rpc_secure *secure, int result)
{
    int kind = SSL_get_error(secure->ssl, result);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return 0;
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_REASON(error);
    const char *phrase = phrase_of(reason);
    char text[sizeof secure->why];
    if (kind == SSL_ERROR_ZERO_RETURN)
        snprintf(text, sizeof text, "the connection was closed by the peer");
    else if (phrase)
        snprintf(text, sizeof text, "%s", phrase);
    else
        snprintf(text, sizeof text, "TLS failed: %s",
                 error && ERR_reason_error_string(error) ? ERR_reason_error_string(error)
                                                         : "the library gives no reason");
    say(secure, text);
    secure->refused = secure->refused || kind != SSL_ERROR_ZERO_RETURN;
    ERR_clear_error();
    return -1;
}

int reid_rpc_secure_handshake(reid_rpc_secure *secure)
{
    if (secure->established)
        return 1;
    ERR_clear_error();
    int result = SSL_do_handshake(secure->ssl);
    if (result != 1)
        return fail(secure, result);
    const unsigned char *chosen;
    unsigned length;
    SSL_get0_alpn_selected(secure->ssl, &chosen, &length);
    if (length + 1 != sizeof alpn || memcmp(chosen, alpn + 1, length) != 0) {
        say(secure, "it does not speak HTTP/2 (ALPN h2)");
        secure->refused = true;
        return -1;
    }
    secure->established = true;
    return 1;
}

/* As when it came, by the files as they are now. */
static int verify_again(const reid_rpc_secure *secure, SSL_CTX *context)
{
    int error = X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    if (check && X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context),
                                     SSL_get0_peer_certificate(secure->ssl),
                                     SSL_get_peer_cert_chain(secure->ssl)) == 1) {
        X509_STORE_CTX_set_default(check, secure->host ? "ssl_server" : "ssl_client");
        error = X509_verify_cert(check) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(check);
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return error;
}

bool reid_rpc_secure_recheck(reid_rpc_secure *secure)
{
    int error = X509_V_OK;
    unsigned generation = reid_rpc_tls_generation(secure->tls);
    if (reid_clock_wall_ms() / 1000 > secure->peer.until_s) {
        error = X509_V_ERR_CERT_HAS_EXPIRED;
    } else if (generation != secure->generation) {
        SSL_CTX *context = reid_rpc_tls_context(secure->tls, &secure->generation);
        error = verify_again(secure, context);
        SSL_CTX_free(context);
    }
    if (error == X509_V_OK)
        return true;
    say_refusal(secure, error);
    secure->refused = true;
    return false;
}

ssize_t reid_rpc_secure_read(reid_rpc_secure *secure, uint8_t *buffer, size_t size)
{
    ERR_clear_error();
    int n = SSL_read(secure->ssl, buffer, (int)REID_MIN(size, (size_t)1 << 20));
    return n > 0 ? n : fail(secure, n);
}

bool reid_rpc_secure_write(reid_rpc_secure *secure, const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return true;
    ERR_clear_error();
    size_t written;
    int result = SSL_write_ex(secure->ssl, bytes, size, &written);
    if (result == 1 && written == size)
        return true;
    if (fail(secure, result) == 0)
        say(secure, "TLS did not take what was written");
    return false;
}

void reid_rpc_secure_end(reid_rpc_secure *secure)
{
    ERR_clear_error();
    if (secure->established)
        SSL_shutdown(secure->ssl);
    ERR_clear_error();
}
