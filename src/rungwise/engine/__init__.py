"""What takes training steps: one contract and its loop (loop.py), and who meets it: PyTorch (torch_engine.py), C++
(native_engine.py, native/) and several processes (ddp.py, process_group.py). select.py chooses. Imports data, model,
ladder, config and util."""
