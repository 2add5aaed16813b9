# The kernels for CUDA devices. The CUDA runtime is linked statically: the library loads on a
# machine without a driver, and says so when it is called.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES all-major)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(CUDAToolkit_VERSION VERSION_LESS 12.0)
  message(FATAL_ERROR "LOGITLOSS_CUDA needs CUDA 12 or newer, not ${CUDAToolkit_VERSION}")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

target_sources(logitloss PRIVATE src/cuda/launch.cu)
# The arithmetic is spelled out, as for the CPU: nothing is contracted, flushed or approximated.
set_source_files_properties(src/cuda/launch.cu PROPERTIES
  COMPILE_OPTIONS "-fmad=false;--expt-relaxed-constexpr")
target_link_libraries(logitloss PRIVATE $<LINK_ONLY:CUDA::cudart_static>)
