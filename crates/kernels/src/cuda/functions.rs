// What the tensor library calls of NVIDIA's libraries, as the linker tells where it does not find it.
functions! {
    "the driver of an NVIDIA GPU", ["libcuda.so.1"] => [
        cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet cuDeviceGetAttribute
        cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuEventCreate cuEventDestroy_v2 cuEventRecord
        cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2 cuMemFreeAsync cuMemFree_v2
        cuMemGetInfo_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync
        cuMemsetD8Async cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload cuStreamCreate
        cuStreamDestroy_v2 cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
    ]
    "cuBLAS", ["libcublas.so.13", "libcublas.so.12"] => [
        cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx cublasSetStream_v2
    ]
    "cuRAND", ["libcurand.so.10"] => [
        curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream
    ]
    // Would launch the kernels of quantised models.
    "the run-time library", [] => [
        __cudaGetKernel __cudaLaunchKernel_ptsz __cudaPopCallConfiguration __cudaPushCallConfiguration
        cudaFuncSetAttribute cudaGetDevice
    ]
}
