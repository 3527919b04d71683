#define _GNU_SOURCE
#include "group.h"
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_RANKS = 4096, WAIT_SECONDS = 60, PIECE = 1 << 16 };

struct gy_group {
    gy_ctx *ctx;
    int rank, size, local;
    int *peer;    /* sockets: on rank 0 to every rank (its own: -1), elsewhere peer[0] alone */
    double *room; /* PIECE elements received */
    gy_status status;
    char message[256];
};

int gy_group_rank(const gy_group *g) {
    return g ? g->rank : 0;
}
int gy_group_size(const gy_group *g) {
    return g ? g->size : 1;
}
int gy_group_local_rank(const gy_group *g) {
    return g ? g->local : 0;
}
gy_status gy_group_status(gy_group *g) {
    return g && g->status != GY_OK ? gy_fail(g->ctx, g->status, "%s", g->message) : GY_OK;
}
gy_group *gy_ctx_group(const gy_ctx *ctx) {
    return ctx->group;
}

/* ---- whole messages ---- */

static gy_status lost(gy_group *g, int rank) {
    if (g->status == GY_OK)
        snprintf(g->message, sizeof g->message, "rank %d: rank %d has gone: %s", g->rank, rank,
                 errno ? strerror(errno) : "it left");
    g->status = GY_ERR_IO;
    return gy_group_status(g);
}

static gy_status send_all(gy_group *g, int rank, const void *data, size_t bytes) {
    for (const char *p = data; bytes;) {
        ssize_t n = send(g->peer[rank], p, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return lost(g, rank);
        p += n;
        bytes -= (size_t)n;
    }
    return GY_OK;
}

static gy_status receive_all(gy_group *g, int rank, void *data, size_t bytes) {
    for (char *p = data; bytes;) {
        errno = 0;
        ssize_t n = recv(g->peer[rank], p, bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return lost(g, rank);
        p += n;
        bytes -= (size_t)n;
    }
    return GY_OK;
}

/* ---- meeting ---- */

/* The variable under either name; -1: not set. */
static gy_status variable(gy_ctx *ctx, const char *name, const char *other, int64_t most, int64_t *value) {
    const char *s = getenv(name);
    if (!s || !*s) {
        name = other;
        s = other ? getenv(other) : NULL;
    }
    if (!s || !*s) return GY_OK;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end || v < 0 || v > most)
        return gy_fail(ctx, GY_ERR_USAGE, "%s=%s: expected an integer in [0, %" PRId64 "]", name, s, most);
    *value = v;
    return GY_OK;
}

static void no_delay(int socket) {
    int on = 1;
    (void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only slower without */
}

/* Each comer says its rank first. */
static gy_status listen_for_all(gy_group *g, struct addrinfo *at) {
    struct timeval patience = {.tv_sec = WAIT_SECONDS};
    int on = 1, s = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gy_status st = GY_OK;
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        bind(s, at->ai_addr, at->ai_addrlen) != 0 || listen(s, g->size) != 0)
        st = gy_fail(g->ctx, GY_ERR_IO, "rank 0 cannot listen at MASTER_ADDR, MASTER_PORT: %s", strerror(errno));
    for (int met = 1; st == GY_OK && met < g->size;) {
        int c = accept4(s, NULL, NULL, SOCK_CLOEXEC);
        int32_t hello[2] = {-1, -1};
        if (c < 0 && errno == EINTR) continue;
        if (c < 0) {
            st = gy_fail(g->ctx, GY_ERR_IO, "rank 0: %d of %d ranks came within %d s", met, g->size, WAIT_SECONDS);
            break;
        }
        (void)setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (recv(c, hello, sizeof hello, MSG_WAITALL) != (ssize_t)sizeof hello || hello[0] < 1 || hello[0] >= g->size ||
            hello[1] != g->size || g->peer[hello[0]] >= 0) {
            close(c); /* a stranger, or a rank that is there already */
            continue;
        }
        no_delay(c);
        g->peer[hello[0]] = c;
        met++;
    }
    if (s >= 0) close(s);
    return st;
}

static gy_status connect_to_first(gy_group *g, struct addrinfo *at) {
    struct timespec start, now, pause = {.tv_nsec = 50000000};
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        int s = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s >= 0 && connect(s, at->ai_addr, at->ai_addrlen) == 0) {
            int32_t hello[2] = {g->rank, g->size};
            no_delay(s);
            g->peer[0] = s;
            return send_all(g, 0, hello, sizeof hello);
        }
        int why = errno;
        if (s >= 0) close(s);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= WAIT_SECONDS)
            return gy_fail(g->ctx, GY_ERR_IO, "rank %d: no rank 0 at MASTER_ADDR, MASTER_PORT within %d s: %s", g->rank,
                           WAIT_SECONDS, strerror(why));
        nanosleep(&pause, NULL);
    }
}

gy_status gy_ctx_join(gy_ctx *ctx) {
    int64_t rank = -1, size = -1, local = -1, port = 29500;
    gy_status s = variable(ctx, "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", MOST_RANKS, &size);
    if (s == GY_OK) s = variable(ctx, "RANK", "OMPI_COMM_WORLD_RANK", MOST_RANKS - 1, &rank);
    if (s == GY_OK) s = variable(ctx, "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", MOST_RANKS - 1, &local);
    if (s == GY_OK) s = variable(ctx, "MASTER_PORT", NULL, 65535, &port);
    if (s != GY_OK || size <= 1) return s;
    if (rank < 0 || rank >= size)
        return gy_fail(ctx, GY_ERR_USAGE, "WORLD_SIZE=%" PRId64 " needs a RANK in [0, %" PRId64 "]", size, size - 1);
    gy_group *g = gy_calloc(ctx, 1, sizeof *g);
    int *peer = gy_calloc(ctx, (size_t)size, sizeof *peer);
    double *room = gy_calloc(ctx, PIECE, sizeof *room);
    if (!g || !peer || !room) {
        gy_free(ctx, g);
        gy_free(ctx, peer);
        gy_free(ctx, room);
        return GY_ERR_NOMEM;
    }
    *g = (gy_group){.ctx = ctx, .rank = (int)rank, .size = (int)size, .local = (int)(local < 0 ? rank : local)};
    g->peer = peer;
    g->room = room;
    for (int i = 0; i < g->size; i++) peer[i] = -1;
    const char *host = getenv("MASTER_ADDR");
    char service[8];
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    snprintf(service, sizeof service, "%" PRId64, port);
    if (!host || !*host) host = "127.0.0.1";
    int why = getaddrinfo(host, service, &want, &found);
    s = why ? gy_fail(ctx, GY_ERR_IO, "MASTER_ADDR=%s: %s", host, gai_strerror(why)) : GY_OK;
    if (s == GY_OK) s = g->rank == 0 ? listen_for_all(g, found) : connect_to_first(g, found);
    if (found) freeaddrinfo(found);
    if (s != GY_OK) {
        gy_group_leave(g);
        return s;
    }
    ctx->group = g;
    return GY_OK;
}

void gy_group_leave(gy_group *g) {
    if (!g) return;
    gy_ctx *ctx = g->ctx;
    for (int i = 0; i < g->size; i++)
        if (g->peer[i] >= 0) close(g->peer[i]);
    gy_free(ctx, g->peer);
    gy_free(ctx, g->room);
    gy_free(ctx, g);
    if (ctx->group == g) ctx->group = NULL;
}

/* ---- sums ---- */

static void add(gy_dtype dtype, void *to, const void *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (dtype == GY_F32)
            ((float *)to)[i] += ((const float *)from)[i];
        else
            ((double *)to)[i] += ((const double *)from)[i];
}

gy_status gy_group_sum(gy_group *g, gy_dtype dtype, void *data, int64_t n) {
    int64_t size = (int64_t)gy_dtype_size(dtype);
    gy_status s = gy_group_status(g);
    if (!g) return GY_OK;
    for (int64_t at = 0; s == GY_OK && at < n; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        char *piece = (char *)data + at * size;
        size_t bytes = (size_t)(count * size);
        if (g->rank) {
            s = send_all(g, 0, piece, bytes);
            if (s == GY_OK) s = receive_all(g, 0, piece, bytes);
            continue;
        }
        for (int r = 1; s == GY_OK && r < g->size; r++) {
            s = receive_all(g, r, g->room, bytes);
            if (s == GY_OK) add(dtype, piece, g->room, count);
        }
        for (int r = 1; s == GY_OK && r < g->size; r++) s = send_all(g, r, piece, bytes);
    }
    return s;
}

gy_status gy_group_share(gy_group *g, void *data, size_t bytes) {
    gy_status s = gy_group_status(g);
    if (!g || s != GY_OK) return s;
    if (g->rank) return receive_all(g, 0, data, bytes);
    for (int r = 1; s == GY_OK && r < g->size; r++) s = send_all(g, r, data, bytes);
    return s;
}
