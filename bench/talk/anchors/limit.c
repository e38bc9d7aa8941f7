/* The limit of the machine: blocking calls of one C program over mutual TLS 1.3 on loopback, no framing, no dispatch.

   limit DIRECTORY sequence SIZE SECONDS          a request echoed, one at a time: p50 and p99 in microseconds
   limit DIRECTORY stream SIZE SECONDS            one way, SIZE bytes a write: megabytes a second, the last one acknowledged

   DIRECTORY holds root.pem, server.pem, server.key, client.pem, client.key. One JSON line with the processor time of
   both sides. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX 4000000
#define END 9 /* the last byte of a stream; all others are 7 */

static double seconds(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    fprintf(stderr, "limit: %s\n", what);
    exit(2);
}

static SSL *secured(const char *directory, const char *side, int server, int socket) {
    char path[512];
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    snprintf(path, sizeof path, "%s/%s.pem", directory, side);
    if (SSL_CTX_use_certificate_file(context, path, SSL_FILETYPE_PEM) != 1) fail("certificate");
    snprintf(path, sizeof path, "%s/%s.key", directory, side);
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1) fail("key");
    snprintf(path, sizeof path, "%s/root.pem", directory);
    if (SSL_CTX_load_verify_locations(context, path, NULL) != 1) fail("root");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, socket);
    if ((server ? SSL_accept(tls) : SSL_connect(tls)) != 1) fail("handshake");
    return tls;
}

static void write_all(SSL *tls, const char *data, size_t size) {
    while (size) {
        int wrote = SSL_write(tls, data, (int)size);
        if (wrote <= 0) exit(0);
        data += wrote;
        size -= (size_t)wrote;
    }
}

static void read_all(SSL *tls, char *data, size_t size) {
    while (size) {
        int got = SSL_read(tls, data, (int)size);
        if (got <= 0) exit(0);
        data += got;
        size -= (size_t)got;
    }
}

static void serve(SSL *tls, int echoes, char *buffer, size_t size, size_t room) {
    if (echoes) {
        for (;;) {
            read_all(tls, buffer, size);
            write_all(tls, buffer, size);
        }
    }
    for (;;) {
        int got = SSL_read(tls, buffer, (int)room);
        if (got <= 0) exit(0);
        if (buffer[got - 1] == END) write_all(tls, "k", 1);
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static long sequence(SSL *tls, char *buffer, size_t size, double for_s) {
    double *took = malloc(sizeof(double) * SAMPLES_MAX), until = seconds() + for_s;
    long count = 0;
    while (count < SAMPLES_MAX) {
        double began = seconds();
        write_all(tls, buffer, size);
        read_all(tls, buffer, size);
        double ended = seconds();
        took[count++] = ended - began;
        if (ended > until) break;
    }
    qsort(took, (size_t)count, sizeof(double), ascending);
    printf("{\"p50_us\": %.2f, \"p99_us\": %.2f, ", took[count / 2] * 1e6, took[(long)(count * .99)] * 1e6);
    return count;
}

static long stream(SSL *tls, char *buffer, size_t size, double for_s) {
    double began = seconds(), until = began + for_s;
    long count = 0;
    char answer;
    while (seconds() < until) {
        write_all(tls, buffer, size);
        count++;
    }
    buffer[0] = END;
    write_all(tls, buffer, 1);
    read_all(tls, &answer, 1);
    printf("{\"mb_s\": %.2f, ", (double)count * (double)size / (seconds() - began) / 1e6);
    return count;
}

static double spent(int whose) {
    struct rusage usage;
    getrusage(whose, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + 1e-6 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int main(int count, char **words) {
    if (count != 5) fail("DIRECTORY sequence|stream SIZE SECONDS");
    int echoes = !strcmp(words[2], "sequence"), one = 1;
    size_t size = (size_t)atol(words[3]), room = size > 1 << 18 ? size : 1 << 18;
    char *buffer = malloc(room);
    memset(buffer, 7, room);
    int listening = socket(AF_INET, SOCK_STREAM, 0), ends[2];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listening, (void *)&address, sizeof address) || listen(listening, 1)) fail("listen");
    getsockname(listening, (void *)&address, &length);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ends[0], (void *)&address, sizeof address)) fail("connect");
    ends[1] = accept(listening, NULL, NULL);
    for (int side = 0; side < 2; side++) setsockopt(ends[side], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pid_t server = fork();
    if (!server) {
        close(ends[0]);
        serve(secured(words[1], "server", 1, ends[1]), echoes, buffer, size, room);
    }
    close(ends[1]);
    SSL *tls = secured(words[1], "client", 0, ends[0]);
    double for_s = atof(words[4]);
    long done = echoes ? sequence(tls, buffer, size, for_s) : stream(tls, buffer, size, for_s);
    close(ends[0]);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    printf("\"count\": %ld, \"cpu_s\": %.4f}\n", done, spent(RUSAGE_SELF) + spent(RUSAGE_CHILDREN));
    return 0;
}
