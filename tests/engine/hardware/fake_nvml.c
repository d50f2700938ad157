/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, steered by environment variables:
 *
 *   FAKE_NVML_GPUS         how many GPUs (2)
 *   FAKE_NVML_INIT         the code that nvmlInit returns (0)
 *   FAKE_NVML_UNSUPPORTED  names of fields that answer NotSupported, as "memory,utilization"
 *   FAKE_NVML_LOST         indices of GPUs that are lost from the start, as "1,3"
 *   FAKE_NVML_LOST_FILE    once this file exists, GPU 0 is lost
 *   FAKE_NVML_STALE_FILE   once this file exists, every question answers "not initialised" until the next init
 *   FAKE_NVML_MIG          GPU 0 is in MIG mode with so many instances
 *   FAKE_NVML_MEMORY_MIB   memory of each GPU (81920), FAKE_NVML_USED_MIB what is in use (1024)
 *   FAKE_NVML_NAME         name of each GPU, FAKE_NVML_DRIVER the driver's version, FAKE_NVML_CUDA its CUDA (12040)
 *   FAKE_NVML_PID   a process that has FAKE_NVML_PID_MIB (512) on every GPU
 *   FAKE_NVML_CALLS        a file to which "init" and "shutdown" are appended, a line each
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } process_t;

#define MAX 64
/* A handle is the address of its cell: GPUs first, then the instances of GPU 0. */
static char cells[2 * MAX];
static int initialised;

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static int listed(const char *name, const char *word)
{
    const char *text = getenv(name);
    size_t length = strlen(word);
    while (text && *text) {
        const char *comma = strchr(text, ',');
        size_t span = comma ? (size_t)(comma - text) : strlen(text);
        if (span == length && !strncmp(text, word, length))
            return 1;
        text = comma ? comma + 1 : NULL;
    }
    return 0;
}

static int exists(const char *name)
{
    const char *path = getenv(name);
    return path && access(path, F_OK) == 0;
}

static void told(const char *word)
{
    const char *path = getenv("FAKE_NVML_CALLS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", word);
        fclose(file);
    }
}

static int is_instance(const void *handle) { return (const char *)handle - cells >= MAX; }

static int lost(int index)
{
    char word[16];
    snprintf(word, sizeof word, "%d", index);
    return listed("FAKE_NVML_LOST", word) || (index == 0 && exists("FAKE_NVML_LOST_FILE"));
}

/* What every question about a device answers before its own answer. */
static int state(const void *handle, const char *field)
{
    int cell = (int)((const char *)handle - cells);
    if (!initialised)
        return UNINITIALIZED;
    if (lost(is_instance(handle) ? 0 : cell))
        return LOST;
    return listed("FAKE_NVML_UNSUPPORTED", field) ? NOT_SUPPORTED : OK;
}

int nvmlInitWithFlags(unsigned int flags)
{
    int code = number("FAKE_NVML_INIT", OK);
    (void)flags;
    told("init");
    if (code == OK)
        initialised = 1;
    return code;
}

int nvmlShutdown(void)
{
    told("shutdown");
    initialised = 0;
    return OK;
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error that only this fake knows";
}

int nvmlSystemGetDriverVersion(char *text, unsigned int length)
{
    const char *version = getenv("FAKE_NVML_DRIVER");
    if (listed("FAKE_NVML_UNSUPPORTED", "driver"))
        return NOT_SUPPORTED;
    snprintf(text, length, "%s", version ? version : "550.54.15");
    return OK;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    if (listed("FAKE_NVML_UNSUPPORTED", "cuda"))
        return NOT_SUPPORTED;
    *version = number("FAKE_NVML_CUDA", 12040);
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    static int stale;
    if (exists("FAKE_NVML_STALE_FILE") && !stale) {
        stale = 1;
        initialised = 0;
    }
    *count = (unsigned int)number("FAKE_NVML_GPUS", 2);
    return initialised ? OK : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle)
{
    if (!initialised)
        return UNINITIALIZED;
    if ((int)index >= number("FAKE_NVML_GPUS", 2) || index >= MAX)
        return INVALID;
    if (lost((int)index))
        return LOST;
    *handle = cells + index;
    return OK;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned int length)
{
    const char *name = getenv("FAKE_NVML_NAME");
    int code = state(handle, "name");
    if (code == OK)
        snprintf(text, length, "%s%s", name ? name : "NVIDIA Fake 80GB", is_instance(handle) ? " MIG 1g.10gb" : "");
    return code;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length)
{
    int code = state(handle, "uuid");
    int cell = (int)((char *)handle - cells);
    if (code == OK)
        snprintf(text, length, "%s-00000000-0000-0000-0000-%012d", is_instance(handle) ? "MIG" : "GPU", cell % MAX);
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory)
{
    int code = state(handle, "memory");
    unsigned long long mib = 1024ULL * 1024ULL;
    if (code == OK) {
        memory->total = (unsigned long long)number("FAKE_NVML_MEMORY_MIB", 81920) * mib;
        if (is_instance(handle))
            memory->total /= 8;
        memory->used = (unsigned long long)number("FAKE_NVML_USED_MIB", 1024) * mib;
        memory->free = memory->total > memory->used ? memory->total - memory->used : 0;
    }
    return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates)
{
    int code = is_instance(handle) ? NOT_SUPPORTED : state(handle, "utilization");
    if (code == OK) {
        rates->gpu = 37;
        rates->memory = 11;
    }
    return code;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *degrees)
{
    int code = state(handle, "temperature");
    (void)sensor;
    if (code == OK)
        *degrees = 62;
    return code;
}

/* FAKE_NVML_PID has FAKE_NVML_PID_MIB on every GPU. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, process_t *found)
{
    int code = state(handle, "processes");
    unsigned int room = *count;
    if (code != OK)
        return code;
    *count = getenv("FAKE_NVML_PID") ? 1 : 0;
    if (*count > room)
        return INSUFFICIENT_SIZE;
    if (*count) {
        memset(found, 0, sizeof *found);
        found->pid = (unsigned int)number("FAKE_NVML_PID", 0);
        found->used = (unsigned long long)number("FAKE_NVML_PID_MIB", 512) * 1024ULL * 1024ULL;
    }
    return OK;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts)
{
    int code = state(handle, "power");
    if (code == OK)
        *milliwatts = 123456;
    return code;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor)
{
    int code = is_instance(handle) ? NOT_SUPPORTED : state(handle, "capability");
    if (code == OK) {
        *major = 9;
        *minor = 0;
    }
    return code;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending)
{
    int code = state(handle, "mig");
    if (code == OK && (handle != cells || !getenv("FAKE_NVML_MIG")))
        return NOT_SUPPORTED;
    *current = *pending = 1;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *count)
{
    *count = 7;
    return state(handle, "mig");
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int index, void **instance)
{
    int code = state(handle, "mig");
    if (code != OK)
        return code;
    /* Instances lie with gaps between them: 0, 2, 4, ... */
    if (index % 2 || (int)(index / 2) >= number("FAKE_NVML_MIG", 0))
        return NOT_FOUND;
    *instance = cells + MAX + index;
    return OK;
}
