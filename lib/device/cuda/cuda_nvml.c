/* device/cuda/cuda_nvml.c - the few calls of NVML that lt makes (NVML API reference, nvml.h 13.0).
 *
 * The library is opened on first use and stays open; types are spelled out here so that building
 * needs no NVML header. */
#include "device/cuda/cuda_nvml.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef void *nvml_device;
typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

enum { NVML_CLOCK_SM = 1, NVML_TEMPERATURE_GPU = 0 };

static struct {
    bool ready;
    int (*init)(void);
    int (*by_bus_id)(const char *bus_id, nvml_device *device);
    int (*power)(nvml_device device, unsigned *milliwatts);
    int (*clock)(nvml_device device, int type, unsigned *mhz);
    int (*temperature)(nvml_device device, int sensor, unsigned *celsius);
    int (*memory)(nvml_device device, nvml_memory *memory);
    int (*reasons)(nvml_device device, unsigned long long *reasons);
} nvml;

/* Clock event reasons that tell a person something; idle and application clocks do not. */
static const struct {
    unsigned long long bit;
    const char *name;
} reasons[] = {
    { 0x04, "power cap" },      { 0x08, "hardware slowdown" }, { 0x20, "thermal" },
    { 0x40, "thermal (hard)" }, { 0x80, "power brake" },
};

static void open_library(void)
{
    static const char *const names[] = { "nvmlInit_v2",
                                         "nvmlDeviceGetHandleByPciBusId_v2",
                                         "nvmlDeviceGetPowerUsage",
                                         "nvmlDeviceGetClockInfo",
                                         "nvmlDeviceGetTemperature",
                                         "nvmlDeviceGetMemoryInfo",
                                         "nvmlDeviceGetCurrentClocksThrottleReasons" };
    void *slots[] = { &nvml.init,        &nvml.by_bus_id, &nvml.power,  &nvml.clock,
                      &nvml.temperature, &nvml.memory,    &nvml.reasons };
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return;
    for (size_t i = 0; i < LT_COUNT(names); i++) {
        void *symbol = dlsym(library, names[i]);

        if (!symbol)
            return;
        memcpy(slots[i], &symbol, sizeof symbol);
    }
    nvml.ready = nvml.init() == 0;
}

static void name_reasons(char *text, size_t size, unsigned long long bits)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < LT_COUNT(reasons) && used < size; i++)
        if (bits & reasons[i].bit)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     reasons[i].name);
}

void cuda_nvml_read(const char *pci_bus_id, lt_dev_health *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    nvml_device device;
    nvml_memory memory;
    unsigned long long bits;
    unsigned value;

    *out = (lt_dev_health){ 0 };
    pthread_once(&once, open_library);
    if (!nvml.ready || nvml.by_bus_id(pci_bus_id, &device) != 0)
        return;
    if (nvml.power(device, &value) == 0)
        out->power_w = value * 1e-3;
    if (nvml.clock(device, NVML_CLOCK_SM, &value) == 0)
        out->sm_mhz = value;
    if (nvml.temperature(device, NVML_TEMPERATURE_GPU, &value) == 0)
        out->temperature_c = value;
    if (nvml.memory(device, &memory) == 0)
        out->memory_used = memory.used;
    if (nvml.reasons(device, &bits) == 0)
        name_reasons(out->throttle, sizeof out->throttle, bits);
}
