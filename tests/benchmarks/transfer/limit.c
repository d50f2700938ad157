/* What this machine can do at most: one connection, received and written; with "hash", SHA-256 in a second
 * thread that reads the file back from the page cache.
 *
 *     limit PORT PATH SIZE OUT [hash]
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static long long size, arrived;
static int out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *hash(void *unused) {
    (void)unused;
    char *buffer = malloc(CHUNK);
    unsigned char digest[32];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (long long at = 0; at < size;) {
        pthread_mutex_lock(&lock);
        while (arrived <= at)
            pthread_cond_wait(&more, &lock);
        long long ready = arrived - at;
        pthread_mutex_unlock(&lock);
        ssize_t count = pread(out, buffer, ready < CHUNK ? (size_t)ready : CHUNK, at);
        if (count <= 0)
            die("pread");
        EVP_DigestUpdate(context, buffer, (size_t)count);
        at += count;
    }
    EVP_DigestFinal_ex(context, digest, NULL);
    for (int i = 0; i < 32; i++)
        printf("%02x", digest[i]);
    printf("\n");
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    size = atoll(argv[3]);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    char *buffer = malloc(CHUNK);
    int length = snprintf(buffer, CHUNK, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", argv[2]);
    if (write(connection, buffer, (size_t)length) != length)
        die("write");
    out = open(argv[4], O_RDWR | O_CREAT, 0644);
    if (out < 0)
        die(argv[4]);
    pthread_t hasher;
    int hashing = argc > 5;
    if (hashing && pthread_create(&hasher, NULL, hash, NULL) != 0)
        return 1;
    size_t have = 0;
    char *body = NULL;
    while (body == NULL) {
        ssize_t count = read(connection, buffer + have, CHUNK - have);
        if (count <= 0)
            die("read");
        have += (size_t)count;
        body = memmem(buffer, have, "\r\n\r\n", 4);
    }
    body += 4;
    size_t rest = have - (size_t)(body - buffer);
    memmove(buffer, body, rest);
    for (ssize_t count = (ssize_t)rest;;) {
        for (ssize_t done = 0; done < count;) {
            ssize_t written = pwrite(out, buffer + done, (size_t)(count - done), arrived + done);
            if (written <= 0)
                die("pwrite");
            done += written;
        }
        pthread_mutex_lock(&lock);
        arrived += count;
        pthread_cond_signal(&more);
        pthread_mutex_unlock(&lock);
        if (arrived >= size)
            break;
        count = read(connection, buffer, CHUNK);
        if (count <= 0)
            die("read");
    }
    if (hashing)
        pthread_join(hasher, NULL);
    return 0;
}
