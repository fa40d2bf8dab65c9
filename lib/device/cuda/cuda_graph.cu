/* device/cuda/cuda_graph.cu - compute work recorded once and launched as often as wanted.
 *
 * While the compute stream is captured, launches go into a graph instead of to the GPU.  Other
 * threads may allocate meanwhile (thread-local mode).  An operation that does what cannot be
 * recorded spoils the capture; it is found out, by name, when the next one begins or the capture
 * ends, and sticks to the device like any fault.  An lt_graph is the executable
 * CUDA graph itself. */
#include "device/cuda/cuda.cuh"

static cudaGraphExec_t exec_of(lt_graph *graph)
{
    return reinterpret_cast<cudaGraphExec_t>(graph);
}

void cuda_watch_capture(lt_dev *dev)
{
    lt_cuda_dev *d = (lt_cuda_dev *)dev;
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;

    if (!d->capturing)
        return;
    cuda_note(dev, cudaStreamIsCapturing(d->streams[LT_STREAM_COMPUTE], &status));
    if (status != cudaStreamCaptureStatusActive)
        cuda_note(dev, cudaErrorStreamCaptureInvalidated);
}

lt_err cuda_capture_begin(lt_dev *dev)
{
    lt_cuda_dev *d = (lt_cuda_dev *)dev;
    cudaStream_t stream = cuda_begin(dev, "the begin of a graph");

    LT_BUG_ON(d->capturing);
    if (d->fault == cudaSuccess)
        cuda_note(dev, cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    d->capturing = d->fault == cudaSuccess;
    return cuda_fault(dev);
}

lt_err cuda_capture_end(lt_dev *dev, lt_graph **out)
{
    lt_cuda_dev *d = (lt_cuda_dev *)dev;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;

    LT_BUG_ON(!d->capturing);
    cuda_watch_capture(dev);
    d->capturing = false;
    cuda_note(dev, cudaStreamEndCapture(d->streams[LT_STREAM_COMPUTE], &graph));
    if (d->fault == cudaSuccess) {
        d->op = "making a graph";
        cuda_note(dev, cudaGraphInstantiate(&exec, graph, 0));
    }
    if (graph)
        (void)cudaGraphDestroy(graph);
    *out = reinterpret_cast<lt_graph *>(exec);
    return cuda_fault(dev);
}

void cuda_graph_launch(lt_dev *dev, lt_graph *graph)
{
    cudaStream_t stream = cuda_begin(dev, "a recorded graph");

    cuda_note(dev, cudaGraphLaunch(exec_of(graph), stream));
}

void cuda_graph_free(lt_dev *dev, lt_graph *graph)
{
    (void)cuda_begin(dev, "freeing a graph");
    cuda_note(dev, cudaGraphExecDestroy(exec_of(graph)));
}
