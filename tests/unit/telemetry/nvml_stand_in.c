/* A stand-in for libnvidia-ml.so.1, driven by a file of values, so that the real pynvml binding can be tested
 * where there is no GPU. It proves the binding, the struct layouts and the handling of errors; not real values.
 *
 * The file named by $NVML_STAND_IN is read at every call, so a test changes the world by replacing it:
 *
 *     devices=2                                   GPUs on the host
 *     gpu0.uuid=GPU-...                           strings, and unsigned numbers in NVML's own units
 *     gpu0.utilization=37
 *     gpu0.process0=4242 1048576                  pid and bytes; process1, process2, ... follow
 *     gpu0.mig=2                                  MIG is on, with room for two instances
 *     gpu0.mig1.uuid=MIG-...                      an instance; one without a uuid does not exist
 *     error.nvmlInitWithFlags=9                   what that call returns instead
 *     gpu1.error.nvmlDeviceGetPowerUsage=15       the same, for one device
 *     gpu1.error=15                               every call on that device
 *     block.nvmlDeviceGetPowerUsage=1             the call does not return while the line stands
 *
 * A value that is missing is NOT_SUPPORTED. Every call adds its name to the file $NVML_STAND_IN.calls. A driver
 * without a function is had by renaming it: cc -DnvmlDeviceGetTemperatureV=absent.
 *
 * Layouts and codes: nvml.h of CUDA 12.9 and 13.5 (PyPI nvidia-nvml-dev).
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INVALID_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25 };
enum { GPUS = 16, INSTANCES = 8, TEXT = 256 };

typedef struct { unsigned gpu; int instance; } Device; /* instance -1: the whole GPU */
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned version; int sensorType; int temperature; } Temperature1;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long usedGpuMemory; unsigned gpuInstanceId, computeInstanceId; } ProcessInfo;

static Device gpus[GPUS];
static Device instances[GPUS][INSTANCES];

/* Into `value`, what stands after `key=`; 0 when there is no such line. */
static int look_up(const char *key, char value[TEXT]) {
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[2 * TEXT];
    size_t length = strlen(key);
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, TEXT, "%s", line + length + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static int number(const char *key, unsigned long long *value) {
    char text[TEXT];
    if (!look_up(key, text)) return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 10);
    return SUCCESS;
}

static void key_of(const Device *device, const char *name, char key[TEXT]) {
    if (device->instance < 0) snprintf(key, TEXT, "gpu%u.%s", device->gpu, name);
    else snprintf(key, TEXT, "gpu%u.mig%d.%s", device->gpu, device->instance, name);
}

static int number_of(const Device *device, const char *name, unsigned long long *value) {
    char key[TEXT];
    key_of(device, name, key);
    return number(key, value);
}

static int text_of(const Device *device, const char *name, char *into, unsigned length) {
    char key[TEXT], value[TEXT];
    key_of(device, name, key);
    if (!look_up(key, value)) return NOT_SUPPORTED;
    if (strlen(value) >= length) return INSUFFICIENT_SIZE;
    strcpy(into, value);
    return SUCCESS;
}

/* Notes the call, blocks for as long as the file says so, and returns the error that the file wants. */
static int enter(const char *function, const Device *device) {
    char key[TEXT], path[TEXT];
    unsigned long long code = SUCCESS, blocked;
    const char *values = getenv("NVML_STAND_IN");
    if (values) {
        snprintf(path, sizeof path, "%s.calls", values);
        FILE *calls = fopen(path, "a");
        if (calls) fprintf(calls, "%s\n", function), fclose(calls);
    }
    snprintf(key, sizeof key, "block.%s", function);
    while (number(key, &blocked) == SUCCESS) usleep(2000);
    snprintf(key, sizeof key, "error.%s", function);
    if (number(key, &code) == SUCCESS) return (int)code;
    if (device && number_of(device, key, &code) == SUCCESS) return (int)code;
    if (device && number_of(device, "error", &code) == SUCCESS) return (int)code;
    return SUCCESS;
}

#define ENTER(device) do { int code_ = enter(__func__, device); if (code_ != SUCCESS) return code_; } while (0)

int nvmlInitWithFlags(unsigned flags) { (void)flags; ENTER(NULL); return SUCCESS; }
int nvmlShutdown(void) { ENTER(NULL); return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "the stand-in's own words"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    unsigned long long devices;
    ENTER(NULL);
    *count = number("devices", &devices) == SUCCESS ? (unsigned)devices : 0;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    unsigned long long devices = 0;
    number("devices", &devices);
    if (index >= devices || index >= GPUS) return INVALID_ARGUMENT;
    *device = &gpus[index];
    **device = (Device){index, -1};
    ENTER(*device);
    return SUCCESS;
}

int nvmlDeviceGetName(Device *device, char *name, unsigned length) { ENTER(device); return text_of(device, "name", name, length); }
int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) { ENTER(device); return text_of(device, "uuid", uuid, length); }

int nvmlDeviceGetUtilizationRates(Device *device, Utilization *rates) {
    unsigned long long percent;
    ENTER(device);
    int code = number_of(device, "utilization", &percent);
    if (code == SUCCESS) *rates = (Utilization){(unsigned)percent, 0};
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *memory) {
    ENTER(device);
    if (memory->version != (sizeof(Memory2) | 2u << 24)) return VERSION_MISMATCH;
    int code = number_of(device, "memory.total", &memory->total);
    if (code == SUCCESS) code = number_of(device, "memory.used", &memory->used);
    if (code == SUCCESS) memory->reserved = 0, memory->free = memory->total - memory->used;
    return code;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    unsigned long long value;
    ENTER(device);
    int code = number_of(device, "power", &value);
    if (code == SUCCESS) *milliwatts = (unsigned)value;
    return code;
}

int nvmlDeviceGetTemperatureV(Device *device, Temperature1 *temperature) {
    unsigned long long value;
    ENTER(device);
    if (temperature->version != (sizeof(Temperature1) | 1u << 24)) return VERSION_MISMATCH;
    int code = number_of(device, "temperature", &value);
    if (code == SUCCESS) temperature->temperature = (int)value;
    return code;
}

int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *temperature) {
    unsigned long long value;
    (void)sensor;
    ENTER(device);
    int code = number_of(device, "temperature", &value);
    if (code == SUCCESS) *temperature = (unsigned)value;
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, ProcessInfo *infos) {
    char name[TEXT], text[TEXT];
    unsigned found = 0;
    ENTER(device);
    for (;; found++) {
        snprintf(name, sizeof name, "process%u", found);
        if (text_of(device, name, text, sizeof text) != SUCCESS) break;
        if (infos && found < *count) {
            infos[found] = (ProcessInfo){0, 0, 0xFFFFFFFFu, 0xFFFFFFFFu};
            sscanf(text, "%u %llu", &infos[found].pid, &infos[found].usedGpuMemory);
        }
    }
    int fits = infos ? found <= *count : found == 0;
    *count = found;
    return fits ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    unsigned long long rooms;
    ENTER(device);
    if (number_of(device, "mig", &rooms) != SUCCESS) return NOT_SUPPORTED;
    *current = *pending = rooms > 0;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned *count) {
    unsigned long long rooms = 0;
    ENTER(device);
    number_of(device, "mig", &rooms);
    *count = (unsigned)rooms;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *gpu, unsigned index, Device **instance) {
    char uuid[TEXT];
    ENTER(gpu);
    if (index >= INSTANCES) return INVALID_ARGUMENT;
    instances[gpu->gpu][index] = (Device){gpu->gpu, (int)index};
    if (text_of(&instances[gpu->gpu][index], "uuid", uuid, sizeof uuid) != SUCCESS) return NOT_FOUND;
    *instance = &instances[gpu->gpu][index];
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(Device *instance, unsigned *id) { ENTER(instance); *id = (unsigned)instance->instance + 1; return SUCCESS; }
int nvmlDeviceGetComputeInstanceId(Device *instance, unsigned *id) { ENTER(instance); *id = 0; return SUCCESS; }

/* One line per struct member, "struct member offset size", to be held against pynvml's own structures. */
#define ROW(name, type, member) name " " #member, offsetof(type, member), sizeof(((type *)0)->member)
#define PRINT(name, type, member) used += snprintf(text + used, sizeof text - used, "%s %zu %zu\n", ROW(name, type, member))
const char *stand_in_layouts(void) {
    static char text[4096];
    size_t used = 0;
    PRINT("c_nvmlMemory_v2_t", Memory2, version);
    PRINT("c_nvmlMemory_v2_t", Memory2, total);
    PRINT("c_nvmlMemory_v2_t", Memory2, reserved);
    PRINT("c_nvmlMemory_v2_t", Memory2, free);
    PRINT("c_nvmlMemory_v2_t", Memory2, used);
    PRINT("c_nvmlTemperature_v1_t", Temperature1, version);
    PRINT("c_nvmlTemperature_v1_t", Temperature1, sensorType);
    PRINT("c_nvmlTemperature_v1_t", Temperature1, temperature);
    PRINT("c_nvmlUtilization_t", Utilization, gpu);
    PRINT("c_nvmlUtilization_t", Utilization, memory);
    PRINT("c_nvmlProcessInfo_v3_t", ProcessInfo, pid);
    PRINT("c_nvmlProcessInfo_v3_t", ProcessInfo, usedGpuMemory);
    PRINT("c_nvmlProcessInfo_v3_t", ProcessInfo, gpuInstanceId);
    PRINT("c_nvmlProcessInfo_v3_t", ProcessInfo, computeInstanceId);
    return text;
}
